// The dashboard in Chromium. Against a real server: QUERN_URL=http://127.0.0.1:8000 (models `iris` and a built-in one, under load);
// QUERN_KILL_MODEL=NAME also kills a worker of that model and waits for its crash report. Without QUERN_URL the pretended server
// of web/dev-server.mjs is used, which also shows states that are hard to reach. QUERN_SHOTS=DIR keeps pictures.
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { launch, lowContrast, open } from './browser.mjs';
import { check, equal, eventually, expect, finish } from './runner.mjs';

const shots = process.env.QUERN_SHOTS;
let fake = null;
let url = process.env.QUERN_URL?.replace(/\/$/, '');
if (!url) {
  const { build } = await import('../../web/build.mjs');
  const { startDevServer } = await import('../../web/dev-server.mjs');
  await build();
  fake = await startDevServer();
  url = fake.url;
}
if (shots) mkdirSync(shots, { recursive: true });

const browser = await launch();
const status = async () => (await fetch(`${url}/api/status`)).json();
const loaded = (page) => page.waitForSelector('#processes');
const card = (page, name) => page.locator(`[data-model="${name}"]`).and(page.locator('article'));
const listed = (requests) => requests.locator('ol[aria-busy=false]').waitFor(); // of the kind that was chosen
// A request on record. A real server's own traffic moves on, and records with it: there it is one of ours, of a kind that stays.
const knownId = async () => {
  if (fake) return (await (await fetch(`${url}/api/requests?n=20`)).json()).requests[7].id;
  const id = `browser-${Date.now()}`;
  await fetch(`${url}/predict`, { method: 'POST', headers: { 'x-request-id': id }, body: '{"modelId":"iris","features":[1]}' });
  return id;
};
const asked = async (page, times) => {
  for (let i = 0; i < times; i++) await page.waitForResponse(/\/api\/status$/);
};
// The list moves until one is open: a request is opened by its id, not by its place.
const openFirst = async (scope) => {
  const id = await scope.locator('details.request').first().getAttribute('data-request');
  const request = scope.locator(`details[data-request="${id}"]`).first();
  await request.locator('summary').click();
  return request;
};
const button = (scope, name) => scope.getByRole('button', { name, exact: true });

async function withPage(options, fn) {
  const view = await open(browser, url, options);
  try {
    await loaded(view.page);
    await fn(view.page, view.troubles);
    if (!options.quarrels) equal(view.troubles.join('\n'), '', 'troubles on the page');
  } finally {
    await view.close();
  }
}

// All that opens, so that its looks are checked too.
async function openAll(page, model = card(page, 'iris')) {
  await button(model, 'Settings').click();
  await model.locator('[data-setting]').first().waitFor();
  await page.locator('details.request summary').first().click();
  await page.locator('.waterfall').waitFor();
  await page.$$eval('.crash', (list) => list.forEach((d) => (d.open = true)));
}

async function shot(page, name) {
  if (!shots) return;
  await page.evaluate(() => scrollTo({ top: 0, behavior: 'instant' }));
  await page.waitForTimeout(1500);
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

function raw(path, headers) {
  return new Promise((resolve, reject) => {
    get(`${url}${path}`, { headers }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }));
    }).on('error', reject);
  });
}

await check('models are shown, each with its state', () =>
  withPage({}, async (page) => {
    expect((await status()).models.length > 0, 'the server has no models');
    const expected = ({ models, versions }) =>
      models.map((m) => {
        const life = versions.find((v) => v.name === m.name && v.version === m.version)?.state;
        return [m.name, life === 'canary' || life === 'comparing' ? life : m.state];
      });
    await eventually(async () => {
      for (const [name, state] of expected(await status())) {
        if ((await card(page, name).first().locator('.model-head .pill').textContent()) !== state) return false;
      }
      return true;
    }, 'the states shown are those of the server');
    await shot(page, 'light-wide');
  }),
);

await check('numbers move while requests arrive', () =>
  withPage({}, async (page) => {
    const total = page.locator('.overview .figure').first().locator('.note');
    const before = await total.textContent();
    await eventually(async () => (await total.textContent()) !== before, `"${before}" changes`);
    await eventually(async () => /[1-9]/.test(await page.locator('[data-field=requests]').textContent()), 'requests per second are above 0');
  }),
);

await check('charts draw lines', () =>
  withPage({}, async (page) => {
    const painted = () =>
      page.$$eval('.chart canvas', (list) =>
        list.map((canvas) => {
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          let coloured = 0;
          // Axes and grid are nearly grey; lines are not.
          for (let i = 0; i < data.length; i += 4) {
            const [r, g, b, a] = data.subarray(i, i + 4);
            if (a > 128 && Math.max(r, g, b) - Math.min(r, g, b) > 60) coloured++;
          }
          return coloured;
        }),
      );
    await eventually(async () => (await painted()).every((n) => n > 30), 'all three charts have coloured lines');
    equal((await painted()).length, 3, 'number of charts');
  }),
);

await check('a request by "try it" works in both protocols', () =>
  withPage({}, async (page) => {
    const iris = card(page, 'iris');
    await button(iris, 'Try it').click();
    await button(iris, 'Send').click();
    await iris.locator('[data-field=status]').waitFor();
    equal(await iris.locator('[data-field=status]').textContent(), '200', 'status of /predict');
    expect((await iris.locator('[data-field=answer]').textContent()).includes('"prediction"'), 'the answer has a prediction');
    expect(/\d.*(ms|µs|s)$/.test(await iris.locator('[data-field=time]').textContent()), 'the time has a unit');
    await button(iris, 'v2 infer').click();
    await button(iris, 'Send').click();
    await iris.locator('[data-field=status]').waitFor();
    equal(await iris.locator('[data-field=status]').textContent(), '200', 'status of v2 infer');
    expect((await iris.locator('[data-field=answer]').textContent()).includes('"outputs"'), 'the answer has outputs');
    await shot(page, 'try-it');
  }),
);

await check('the command shown gives the same as the form', () =>
  withPage({}, async (page) => {
    const iris = card(page, 'iris');
    await button(iris, 'Try it').click();
    const commands = [];
    if (!fake) commands.push(await iris.locator('.curl pre').textContent()); // the pretended server's own names another port
    await button(iris, 'v2 infer').click();
    commands.push(await iris.locator('.curl pre').textContent());
    for (const command of commands) {
      expect(command.startsWith('curl '), `not a curl line: ${command}`);
      const answer = JSON.parse((await promisify(execFile)('sh', ['-c', command], { timeout: 5000 })).stdout);
      expect(answer.outputs || answer.data, `no result from: ${command}`);
    }
  }),
);

await check('a wrong request shows the refusal', () =>
  withPage({ quarrels: true }, async (page) => {
    const iris = card(page, 'iris');
    await button(iris, 'Try it').click();
    await iris.locator('textarea').fill('{"modelId": ');
    await iris.getByText('This is not JSON yet').waitFor();
    await button(iris, 'Send').click();
    await iris.locator('[data-field=status]').waitFor();
    equal(await iris.locator('[data-field=status]').textContent(), '400', 'status');
    await button(iris, 'Back to the sample').click();
    expect((await iris.locator('textarea').inputValue()).includes('iris'), 'the sample is back');
  }),
);

await check('everything works by keyboard', () =>
  withPage({}, async (page) => {
    const iris = card(page, 'iris');
    await button(iris, 'Try it').focus();
    await page.keyboard.press('Enter');
    await iris.locator('textarea').waitFor();
    equal(await button(iris, 'Close').getAttribute('aria-expanded'), 'true', 'aria-expanded');
    await iris.locator('textarea').focus();
    await page.keyboard.press('Control+Enter');
    await iris.locator('[data-field=status]').waitFor();
    await page.keyboard.press('Tab');
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    equal(outline, 'solid', 'focus is visible');
  }),
);

await check('every control and picture has a name, headings are in order', () =>
  withPage({}, async (page) => {
    await button(card(page, 'iris'), 'Try it').click();
    const nameless = await page.$$eval('button, a, input, textarea, [role=img]', (list) =>
      list
        .filter((e) => !e.textContent.trim() && !e.getAttribute('aria-label') && !e.labels?.length)
        .map((e) => e.outerHTML.slice(0, 80)),
    );
    equal(nameless.join('\n'), '', 'without a name');
    const levels = await page.$$eval('h1, h2, h3, h4', (list) => list.map((e) => Number(e.tagName[1])));
    equal(levels[0], 1, 'first heading');
    expect(levels.every((level, i) => i === 0 || level <= levels[i - 1] + 1), `levels jump: ${levels}`);
  }),
);

await check('requests are listed with where their time went, and explained when opened', () =>
  withPage({}, async (page) => {
    const requests = page.locator('#requests');
    await button(requests, 'Usual').click();
    await listed(requests);
    const kinds = await requests.locator('details.request [data-kind]').allTextContents();
    equal([...new Set(kinds)].join(), 'usual', 'kinds');
    const first = await openFirst(requests);
    await first.locator('.waterfall').waitFor();
    const shares = await first.locator('.waterfall i').evaluateAll((list) => list.map((e) => [parseFloat(e.style.left), parseFloat(e.style.width)]));
    equal(shares.length, 6, 'stages');
    let end = 0;
    for (const [left, width] of shares) {
      expect(Math.abs(left - end) < 0.01, `a stage begins at ${left} where the one before ended at ${end}`);
      end = left + width;
    }
    expect(Math.abs(end - 100) < 0.01, `the stages end at ${end} %`);
    expect((await first.locator('.why').textContent()).includes('It took'), 'a sentence says how long it took');
    const ids = () => requests.locator('details.request').evaluateAll((list) => list.map((e) => e.dataset.request).join());
    const before = await ids();
    await asked(page, 4); // the list would have been asked for again
    equal(await ids(), before, 'the list stands still while one is open');
    if (fake) {
      await button(requests, 'All').click();
      equal(await requests.locator('details.request').count(), 12, 'requests at first');
      await button(requests, 'Show 28 more').click();
      equal(await requests.locator('details.request').count(), 40, 'requests then');
    }
    await shot(page, 'request');
  }),
);

await check('a request is found by its id, and an unknown one is told', () =>
  withPage({ quarrels: true }, async (page) => {
    const id = await knownId();
    const requests = page.locator('#requests');
    await requests.getByRole('searchbox').fill(id);
    await button(requests, 'Explain').click();
    const found = requests.locator('details.request[open]');
    const refusal = requests.locator('.finder [role=status]:not(:empty)');
    await found.or(refusal).first().waitFor();
    equal(await refusal.allTextContents().then((texts) => texts.join()), '', 'what the page says instead');
    equal(await found.getAttribute('data-request'), id, 'id of the open one');
    await requests.getByRole('searchbox').fill('nobody-asked');
    await button(requests, 'Explain').click();
    await requests.getByText("no record of a request 'nobody-asked'").waitFor();
  }),
);

await check('a failed request says why', () =>
  withPage({ quarrels: true }, async (page) => {
    if (!fake) await fetch(`${url}/predict`, { method: 'POST', body: '{"modelId":"iris","features":[1]}' });
    const requests = page.locator('#requests');
    await button(requests, 'Invalid').click();
    await listed(requests);
    const first = await openFirst(requests);
    expect((await first.locator('.why').textContent()).includes('unexpected shape'), 'the error is shown');
    equal(await first.locator('.request-status').textContent(), '400', 'status');
  }),
);

await check('the settings of a model tell where they come from and what was measured', () =>
  withPage({}, async (page) => {
    const iris = card(page, 'iris');
    await button(iris, 'Settings').click();
    await iris.locator('[data-setting=max_batch]').waitFor();
    const row = await iris.locator('[data-setting=max_batch] td').allTextContents();
    equal(row[0], String((await status()).models.find((m) => m.name === 'iris').max_batch), 'max_batch in force');
    equal(row[1], 'chosen', 'where max_batch comes from');
    expect(row[2].length > 10, 'the reason is told');
    equal(await iris.locator('[data-setting=queue_max]').count(), 0, 'defaults at first');
    await button(iris, 'All').click();
    equal((await iris.locator('[data-setting=queue_max] td').allTextContents())[1], 'default', 'where queue_max comes from');
    // A machine that was too busy has not measured.
    const { measured } = (await (await fetch(`${url}/api/models/iris`)).json()).models[0].status.batching;
    equal((await iris.locator('.settings').textContent()).includes('Measured when it was loaded'), measured.length > 0, 'measurements are shown');
    await shot(page, 'settings');
  }),
);

await check('processes are listed', () =>
  withPage({}, async (page) => {
    // Also while some come and go: a trial of instances is a process of its own.
    await eventually(async () => (await page.locator('#processes tbody tr').count()) === (await status()).processes.length, 'a row for each process');
    for (const role of ['master', 'edge']) {
      const row = page.locator(`#processes tr[data-role=${role}]`).first();
      expect(/[\d.]+.(KiB|MiB|GiB)/.test(await row.textContent()), `${role} shows its memory`);
    }
  }),
);

if (fake || process.env.QUERN_KILL_MODEL) {
  await check('a crash report appears after a worker was killed', () =>
    withPage({}, async (page) => {
      const name = process.env.QUERN_KILL_MODEL ?? 'iris';
      const known = new Set((await status()).crashes.map((c) => c.id));
      if (fake) await fetch(`${url}/dev/crash`, { method: 'POST' });
      else {
        const worker = (await status()).processes.find((p) => p.role === 'worker' && p.model === name && p.pid > 0);
        expect(worker, `no worker of ${name} runs`);
        process.kill(worker.pid, 'SIGKILL');
      }
      let report = null;
      await eventually(async () => {
        report = (await status()).crashes.find((c) => !known.has(c.id) && c.model === name);
        return report;
      }, 'the status has the report');
      const entry = page.locator(`details[data-crash="${report.id}"]`);
      await entry.waitFor();
      await entry.locator('summary').click();
      expect((await entry.textContent()).includes('SIGKILL'), 'the report names the signal');
      await shot(page, 'crash');
    }),
  );
}

await check('dark follows the system, the toggle overrides it and is remembered', () =>
  withPage({ scheme: 'dark' }, async (page) => {
    const brightness = () =>
      page.evaluate(() => Math.max(...getComputedStyle(document.documentElement).backgroundColor.match(/\d+/g).slice(0, 3).map(Number)));
    expect((await brightness()) < 60, 'the ground is dark');
    await shot(page, 'dark-wide');
    await page.getByRole('button', { name: 'Use the light theme' }).click();
    expect((await brightness()) > 200, 'the ground is light after the toggle');
    await page.reload();
    await loaded(page);
    expect((await brightness()) > 200, 'the ground is light after a reload');
    await page.getByRole('button', { name: 'Use the dark theme' }).click();
    equal(await page.evaluate(() => localStorage.getItem('quern-theme')), null, 'stored choice when it is the system’s');
  }),
);

for (const scheme of ['light', 'dark']) {
  await check(`text has contrast, ${scheme}`, () =>
    withPage({ scheme }, async (page) => {
      await button(card(page, 'iris'), 'Try it').click();
      await page.locator('.tryit textarea').waitFor();
      await openAll(page);
      equal((await page.evaluate(lowContrast)).join('\n'), '', 'low contrast');
    }),
  );
}

for (const width of [390, 320]) {
  await check(`no horizontal scrolling at ${width} pixels`, () =>
    withPage({ width, height: 844 }, async (page) => {
      await button(card(page, 'iris'), 'Try it').click();
      await page.locator('.tryit textarea').waitFor();
      await openAll(page);
      equal(await page.evaluate(() => document.scrollingElement.scrollWidth), width, 'width of the page');
      await shot(page, `light-${width}`);
    }),
  );
}

await check('a hidden page asks for nothing, and asks again when it is seen', () =>
  withPage({}, async (page) => {
    const hide = (hidden) =>
      page.evaluate((value) => {
        Object.defineProperty(document, 'hidden', { value, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
      }, hidden);
    let questions = 0;
    page.on('request', () => questions++);
    await hide(true);
    // A question may be on its way, and others may follow from its answer; then there is silence for longer than it ever is otherwise.
    await eventually(async () => {
      questions = 0;
      await page.waitForTimeout(3000);
      return questions === 0;
    }, 'it asks for nothing');
    await hide(false);
    await eventually(() => questions > 0, 'it asks again');
  }),
);

if (!fake) {
  await check('files have ETag, gzip and a policy', async () => {
    for (const path of ['/', '/app.js', '/app.css', '/icon.svg', '/licenses.txt']) {
      const plain = await raw(path, {});
      equal(plain.status, 200, `status of ${path}`);
      const again = await raw(path, { 'if-none-match': plain.headers.etag });
      equal(again.status, 304, `status of ${path} when it is known`);
      equal(again.body.length, 0, 'body of a 304');
      const packed = await raw(path, { 'accept-encoding': 'gzip' });
      const body = packed.headers['content-encoding'] === 'gzip' ? gunzipSync(packed.body) : packed.body;
      expect(body.equals(plain.body), `${path} is the same with gzip`);
    }
    const script = await raw('/app.js', { 'accept-encoding': 'gzip' });
    equal(script.headers['content-encoding'], 'gzip', 'coding of the script');
    expect((await raw('/', {})).headers['content-security-policy']?.includes("default-src 'none'"), 'the page has a policy');
  });
}

if (fake) {
  const inState = (name, fn, options = {}) =>
    check(`state: ${name}`, async () => {
      fake.world.set(name);
      await withPage(options, async (page) => {
        await fn(page);
        await shot(page, `state-${name}`);
      });
    });

  await check('state: the server goes away and comes back', async () => {
    fake.world.set('busy');
    await withPage({ quarrels: true }, async (page) => {
      fake.world.set('unreachable');
      await page.getByText('The server does not answer.').waitFor();
      equal(await page.locator('.top [data-state]').textContent(), 'Unreachable', 'state at the top');
      expect(await card(page, 'iris').isVisible(), 'the last facts stay');
      await shot(page, 'state-unreachable');
      fake.world.set('busy');
      await eventually(async () => (await page.locator('.banner').count()) === 0, 'the banner leaves');
      equal(await page.locator('.top [data-state]').textContent(), 'Ready', 'state at the top');
    });
  });
  fake.world.set('busy');
  await check('comparisons, trials and the memory budget are shown', () =>
    withPage({}, async (page) => {
      expect((await card(page, 'iris').locator('[data-field=compared]').textContent()).includes('same: max difference 2.1e-07'), 'comparison');
      const trial = await card(page, 'ocr').locator('[data-field=canary]').textContent();
      expect(/10\s%/.test(trial) && trial.includes('310 requests answered') && trial.includes('2 differed, at most by 0.031'), `trial: ${trial}`);
      equal(await card(page, 'ocr').locator('.model-head .pill').textContent(), 'canary', 'state of a version on trial');
      const row = await page.locator('[data-memory=segment-large]').textContent();
      expect(row.includes('unloaded to make room for ocr') && /140\sMiB/.test(row), `row: ${row}`);
      expect((await page.locator('#memory .section-head').textContent()).replaceAll(/\s/g, ' ').includes('172 MiB of the budget of 256 MiB; 2 of 3 models in memory'), 'the budget');
    }),
  );
  await inState('empty', async (page) => {
    equal(await page.locator('#memory').count(), 0, 'no budget, no section');
    await page.getByText('No models yet').waitFor();
    await page.getByText('No crashes', { exact: true }).waitFor();
    await page.getByText('No requests on record').waitFor();
  });
  await inState('starting', async (page) => {
    equal(await page.locator('.top [data-state]').textContent(), 'Starting', 'state at the top');
    equal(await page.locator('article [data-state=loading]').count(), 3, 'loading models');
    await page.locator('.banner', { hasText: 'models.iris.instances: 0 is below 1' }).waitFor();
  });
  await inState('draining', (page) => page.locator('.banner', { hasText: 'Draining.' }).waitFor());
  await inState('quiet', async (page) => {
    await eventually(async () => (await page.locator('[data-field=requests]').textContent()).startsWith('0'), '0 requests per second');
    expect((await page.locator('.chart', { hasText: 'Latency' }).textContent()).includes('No requests yet'), 'latency says that nothing came');
  });
  await inState('many', async (page) => {
    equal(await page.locator('article').count(), 24, 'models');
    await page.getByRole('searchbox', { name: 'Filter models' }).fill('ocr');
    equal(await page.locator('article').count(), 6, 'models that match');
    await page.getByRole('searchbox', { name: 'Filter models' }).fill('nothing-like-this');
    await page.getByText('No model’s name contains').or(page.getByText("No model's name contains")).waitFor();
  });
  for (const width of [1440, 390]) {
    await inState(
      'hundred',
      async (page) => {
        equal(await page.locator('article').count(), 102, 'models');
        await openAll(page, page.locator('article').first());
        equal(await page.evaluate(() => document.scrollingElement.scrollWidth), width, `width of the page with names of 255 bytes at ${width}`);
      },
      { width },
    );
  }
}

await browser.close();
fake?.stop();
finish();
