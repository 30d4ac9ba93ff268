#include "app/worker_check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "sys/fd.h"

#define PIECES_AT_ONCE 4               /* of one who is patient: a mebibyte */
#define REST_NS        (1 * NS_PER_MS) /* then: at most a gibibyte a second is read */
#define PATIENT_NS     (10 * NS_PER_S) /* with time that nobody else wants; there may be none */
#define HURRY_REST_NS  (2 * NS_PER_MS) /* after each piece: a few hundredths of a processor */
#define AGAIN_NS       (60 * NS_PER_S) /* what could not be read */

static bool go_on(void *arg)
{
    struct worker_check *c = arg;
    bool rests = c->hurries || ++c->pieces % PIECES_AT_ONCE == 0;
    if (!c->hurries && clock_now_ns() > c->patient_until_ns)
        return false;
    if (rests)
        (void)nanosleep(&(struct timespec){0, c->hurries ? HURRY_REST_NS : REST_NS}, NULL);
    return true;
}

/* It takes no lock and no new memory: held back there, it would hold back the runs. From this priority nobody comes back without a privilege, so that
 * everything else is left to the thread that is told. */
static void *run(void *arg)
{
    struct worker_check *c = arg;
    const struct backend_reading reading = {.room = c->room, .go_on = go_on, .arg = c};
    (void)sched_setscheduler(0, c->hurries ? SCHED_BATCH : SCHED_IDLE, &(struct sched_param){0});
    c->found = c->backend->kept->check(c->instance, &reading, &c->err);
    atomic_store_explicit(&c->has_ended, true, memory_order_release);
    (void)eventfd_write(c->bell, 1);
    return NULL;
}

void worker_check_init(struct worker_check *c, const struct backend *b, void *instance)
{
    *c = (struct worker_check){.backend = b, .instance = instance, .bell = -1};
    if (b->kept != NULL && b->kept->is_used(instance))
        c->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void let_go(struct worker_check *c)
{
    (void)munmap(c->room, BACKEND_READING_BYTES);
    c->room = NULL;
    c->is_running = false;
}

void worker_check_tick(struct worker_check *c)
{
    pthread_attr_t detached;
    pthread_t thread;
    if (c->bell < 0 || c->is_running || clock_now_ns() < c->not_before_ns || !c->backend->kept->is_due(c->instance))
        return;
    c->room =
        mmap(NULL, BACKEND_READING_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (c->room == MAP_FAILED)
        return;
    c->err = (struct err){0};
    atomic_store(&c->has_ended, false);
    c->patient_until_ns = clock_now_ns() + PATIENT_NS;
    (void)pthread_attr_init(&detached); /* whoever waited for its end would wait at its priority */
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    c->is_running = pthread_create(&thread, &detached, run, c) == 0;
    (void)pthread_attr_destroy(&detached);
    if (!c->is_running)
        let_go(c); /* no thread is to be had: at the next tick perhaps */
}

bool worker_check_end(struct worker_check *c)
{
    eventfd_t rung;
    if (eventfd_read(c->bell, &rung) < 0 || !atomic_load_explicit(&c->has_ended, memory_order_acquire))
        return false;
    let_go(c);
    c->hurries = c->found == BACKEND_UNREAD && c->err.code == ERR_CANCELLED;
    if (c->hurries)
        worker_check_tick(c);
    if (c->found == BACKEND_UNREAD && !c->hurries) {
        LOG_WARN("a compiled model cannot be checked", LOG_S("error", c->err.text), LOG_S("remedy", c->err.remedy));
        c->not_before_ns = clock_now_ns() + AGAIN_NS;
    }
    if (c->found != BACKEND_DAMAGED)
        return false;
    c->backend->kept->discard(c->instance);
    c->bell = fd_close(c->bell);
    return true;
}
