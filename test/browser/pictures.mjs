// Takes the pictures of the README from a running server: node test/browser/pictures.mjs URL [DIR]
// Let it serve under some load for a minute before, so that the charts have something to show.
import { join } from 'node:path';
import { launch, open } from './browser.mjs';

const PICTURES = [
  { name: 'dashboard-light', width: 1440, height: 1000, scheme: 'light' },
  { name: 'dashboard-dark', width: 1440, height: 1000, scheme: 'dark' },
  { name: 'dashboard-phone', width: 390, height: 844, scheme: 'dark' },
];

const [url, dir = 'docs/img'] = process.argv.slice(2);
if (!url) {
  console.error('usage: node test/browser/pictures.mjs URL [DIR]');
  process.exit(2);
}
const browser = await launch();
for (const { name, ...look } of PICTURES) {
  const { page, close } = await open(browser, url, look);
  await page.waitForSelector('#processes');
  await page.waitForTimeout(2500); // rates need some seconds
  await page.screenshot({ path: join(dir, `${name}.png`) });
  await close();
}
await browser.close();
