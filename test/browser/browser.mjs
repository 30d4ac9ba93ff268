// Chromium of the system, quiet and without a network of its own.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export async function launch() {
  let playwright;
  try {
    playwright = await import('playwright-core');
  } catch {
    throw new Error('test/browser/node_modules is missing; run: npm --prefix test/browser ci');
  }
  return playwright.chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
}

// A page, and everything on it that should not be: errors in the console, requests to elsewhere.
export async function open(browser, url, { width = 1440, height = 900, scheme = 'light' } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme });
  context.setDefaultTimeout(40_000); // a slow machine that has other work; what never comes costs this time once
  const page = await context.newPage();
  const troubles = [];
  page.on('console', (m) => m.type() === 'error' && troubles.push(`console: ${m.text()} ${m.location().url ?? ''}`));
  page.on('pageerror', (e) => troubles.push(`exception: ${e.message}`));
  page.on('request', (r) => new URL(r.url()).origin !== new URL(url).origin && troubles.push(`request to ${r.url()}`));
  await page.goto(url);
  return { page, troubles, close: () => context.close() };
}

// Runs in the page: text whose contrast to its ground is below WCAG AA (4.5, or 3 for large text).
export function lowContrast() {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest('script, noscript, .offscreen')) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(parse(style.color)), luminance(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.7 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.add(`${ratio.toFixed(2)}: "${node.data.trim().slice(0, 30)}" (${element.className || element.tagName})`);
  }
  return [...found];
}
