#include "proc/symbols.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/str.h"
#include "sys/fd.h"

struct image {
    const unsigned char *p;
    size_t n;
};

/* A table inside the file, or NULL when its bounds are wrong. */
static const void *part(const struct image *im, uint64_t off, uint64_t bytes)
{
    return off <= im->n && bytes <= im->n - off ? im->p + off : NULL;
}

static const char *name_at(const struct image *im, const Elf64_Shdr *strings, uint32_t at)
{
    const char *table = part(im, strings->sh_offset, strings->sh_size);
    bool ok = table && at < strings->sh_size && memchr(table + at, '\0', strings->sh_size - at);
    return ok ? table + at : NULL;
}

static bool find_in(const struct image *im, const Elf64_Shdr *symtab, const Elf64_Shdr *strings, uint64_t offset,
                    char *out, size_t out_size)
{
    size_t n = symtab->sh_size / sizeof(Elf64_Sym);
    const Elf64_Sym *sym = part(im, symtab->sh_offset, n * sizeof *sym);
    for (size_t i = 0; sym && i < n; i++) {
        if (ELF64_ST_TYPE(sym[i].st_info) != STT_FUNC || offset < sym[i].st_value ||
            offset - sym[i].st_value >= sym[i].st_size)
            continue;
        const char *name = name_at(im, strings, sym[i].st_name);
        if (!name)
            return false;
        (void)snprintf(out, out_size, "%s+0x%llx", name, (unsigned long long)(offset - sym[i].st_value));
        return true;
    }
    return false;
}

static bool find(const struct image *im, uint64_t offset, char *out, size_t out_size)
{
    const Elf64_Ehdr *head = part(im, 0, sizeof *head);
    if (!head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 || head->e_ident[EI_CLASS] != ELFCLASS64)
        return false;
    const Elf64_Shdr *sections = part(im, head->e_shoff, (uint64_t)head->e_shnum * sizeof *sections);
    for (size_t i = 0; sections && i < head->e_shnum; i++)
        if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_link < head->e_shnum)
            return find_in(im, &sections[i], &sections[sections[i].sh_link], offset, out, out_size);
    return false;
}

bool symbols_name(uint64_t offset, char *out, size_t out_size)
{
    struct stat st;
    AUTO_FD fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0)
        return false;
    struct image im = {.n = (size_t)st.st_size};
    void *p = mmap(NULL, im.n, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return false;
    im.p = p;
    bool found = find(&im, offset, out, out_size);
    (void)munmap(p, im.n);
    return found;
}
