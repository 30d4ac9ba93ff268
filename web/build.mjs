// Bundles the dashboard: node web/build.mjs [OUT]   (OUT is web/dist unless given)
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

// Their licences ask that the notice travels with every copy; the page links to this file.
function notices() {
  const libraries = Object.keys(JSON.parse(readFileSync(join(here, 'package.json'), 'utf8')).dependencies);
  return libraries
    .map((name) => `${name}\n\n${readFileSync(join(here, 'node_modules', name, 'LICENSE'), 'utf8').trim()}\n`)
    .join(`\n${'-'.repeat(72)}\n\n`);
}

export async function build(out = join(here, 'dist')) {
  let esbuild;
  try {
    esbuild = await import('esbuild');
  } catch {
    throw new Error('web/node_modules is missing or incomplete; run: npm --prefix web ci');
  }
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  await esbuild.build({
    entryPoints: { app: join(here, 'src/main.jsx') },
    outdir: out,
    bundle: true,
    minify: true,
    format: 'iife',
    target: ['chrome110', 'firefox115', 'safari16.4'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'none',
    logLevel: 'warning',
  });
  for (const name of ['index.html', 'icon.svg']) copyFileSync(join(here, 'src', name), join(out, name));
  writeFileSync(join(out, 'licenses.txt'), notices());
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  build(process.argv[2]).catch((e) => {
    console.error(`web/build.mjs: ${e.message}`);
    process.exit(1);
  });
}
