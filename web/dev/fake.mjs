// A pretended server's facts: models under a load that moves, processes, crashes. Seeded, so that two starts look alike.
const HISTORY = 900;
const STEP_MS = 1000;
const MIB = 1048576;

function random(seed) {
  let s = seed >>> 0;
  return () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    return s / 4294967296;
  };
}

const f32 = (name, ...shape) => ({ name, datatype: 'FP32', shape });
const i64 = (name, ...shape) => ({ name, datatype: 'INT64', shape });

// per_s: mean load; ms: mean latency; wave: period of the load's swing in seconds.
const MODELS = [
  {
    name: 'filetype', backend: 'onnx', platform: 'onnxruntime', isolation: 'process', instances: 1, per_s: 62, ms: 6.4, wave: 140,
    inputs: [{ name: 'bytes', datatype: 'INT32', shape: [-1, 2048] }], outputs: [f32('target_label', -1, 214)], max_batch: 8, may_share: true,
    batch_reason: 'rows run alone and together gave the same results; a run of 8 is 1.9 times as fast as 8 runs',
    memory: 61 * MIB, file: 3.1 * MIB, load: 148, shares: [1, 9, 14, 70, 5, 1],
  },
  {
    name: 'identity', backend: 'builtin', platform: 'builtin', isolation: 'inline', instances: 1, per_s: 840, ms: 0.021, wave: 75,
    inputs: [f32('input', -1, 16)], outputs: [f32('output', -1, 16)], max_batch: 64, may_share: true, batch_reason: 'built in: rows are independent',
    memory: 0.2 * MIB, file: 0, load: 0.1, shares: [20, 32, 2, 4, 30, 12],
  },
  {
    name: 'iris', backend: 'onnx', platform: 'onnxruntime', isolation: 'process', instances: 2, per_s: 410, ms: 0.34, wave: 210, fails: 0.004,
    inputs: [f32('X', -1, 4)], outputs: [i64('label', -1), f32('probabilities', -1, 3)], max_batch: 64, may_share: true,
    batch_reason: 'rows run alone and together gave the same results; a run of 64 is 11 times as fast as 64 runs',
    memory: 23.4 * MIB, file: 41_220, load: 38, shares: [6, 14, 30, 36, 10, 4],
  },
  {
    name: 'ocr', backend: 'onnx', platform: 'onnxruntime', isolation: 'process', instances: 2, per_s: 7.5, ms: 48, wave: 320,
    inputs: [f32('x', -1, 3, 48, -1)], outputs: [f32('softmax', -1, -1, 6625)], max_batch: 1, may_share: false,
    batch_reason: 'the width differs between requests, and rows padded to one width gave other results',
    memory: 88 * MIB, file: 10.8 * MIB, load: 311, shares: [2, 3, 22, 70, 3, 0.3],
  },
];

const BROKEN = [
  { name: 'segment', state: 'failed', reason: 'external data "../weights.bin" points outside the model\'s folder; put the file beside the model' },
  { name: 'sentiment', state: 'loading', reason: 'measuring batches' },
];

// As long as a name may be, with and without places to break it.
const LONG_NAMES = ['a'.repeat(255), 'speech-to-text-'.repeat(17), `${'x'.repeat(100)}.${'y'.repeat(154)}`];

const STAGES = ['receive', 'decode', 'queue', 'compute', 'encode', 'send'];

class FakeModel {
  constructor(spec, rand, seconds) {
    Object.assign(this, { spec, rand, version: spec.version ?? '1', state: 'ready', requests: 0, failures: 0, rows: 0, runs: 0, seconds: 0 });
    this.history = { requests: [], failures: [], p50_ms: [], p95_ms: [], p99_ms: [] };
    for (let i = 0; i < seconds; i++) this.step();
  }

  step() {
    const { spec, rand } = this;
    const swing = 1 + 0.45 * Math.sin((this.seconds++ / spec.wave) * 2 * Math.PI) + 0.22 * (rand() - 0.5);
    const n = Math.max(0, Math.round(spec.per_s * swing));
    const failed = Math.min(n, Math.round(n * (spec.fails ?? 0) * 2 * rand()));
    this.requests += n;
    this.failures += failed;
    this.rows += n;
    this.runs += spec.may_share ? Math.ceil(n / (1 + Math.min(6, n / 120))) : n;
    const p50 = spec.ms * (0.9 + 0.25 * swing * (0.8 + 0.4 * rand()));
    const now = { requests: n, failures: failed, p50_ms: p50, p95_ms: p50 * (1.7 + 0.5 * rand()), p99_ms: p50 * (2.6 + 1.6 * rand()) };
    for (const [key, value] of Object.entries(now)) {
      this.history[key].push(value);
      if (this.history[key].length > HISTORY) this.history[key].shift();
    }
    this.now = now;
  }

  toJson() {
    const { spec, now } = this;
    const total = spec.shares.reduce((a, b) => a + b, 0);
    return {
      ...(spec.name === 'ocr' && { canary: { percent: 10, shadow_percent: 20, answered: 310, failed: 1, compared: 540, differed: 2, greatest_difference: 0.031 } }),
      name: spec.name, version: this.version, state: this.state, reason: '', backend: spec.backend, platform: spec.platform,
      isolation: spec.isolation, instances: spec.instances, instances_ready: spec.instances, inputs: spec.inputs, outputs: spec.outputs,
      max_batch: spec.max_batch, may_share: spec.may_share, batch_reason: spec.batch_reason, memory_bytes: Math.round(spec.memory),
      file_bytes: Math.round(spec.file), load_ms: spec.load, requests: this.requests, failures: this.failures, rows: this.rows, runs: this.runs,
      queue: Math.floor(this.rand() * 3), in_flight: Math.floor(this.rand() * 6),
      latency_ms: { p50: now?.p50_ms ?? 0, p95: now?.p95_ms ?? 0, p99: now?.p99_ms ?? 0 },
      stages_us: Object.fromEntries(STAGES.map((s, i) => [s, now ? (now.p50_ms * 1000 * spec.shares[i]) / total : 0])),
    };
  }
}

const brokenJson = (b) => ({
  name: b.name, version: '1', state: b.state, reason: b.reason, backend: 'onnx', platform: 'onnxruntime', isolation: 'process', instances: 1,
  instances_ready: 0, inputs: [], outputs: [], max_batch: 0, may_share: false, batch_reason: '', memory_bytes: 0, file_bytes: 0, load_ms: 0,
  requests: 0, failures: 0, rows: 0, runs: 0, queue: 0, in_flight: 0, latency_ms: { p50: 0, p95: 0, p99: 0 },
  stages_us: Object.fromEntries(STAGES.map((s) => [s, 0])),
});

const STACK = [
  'builtin_crash_run (src/model/builtin_crash.c:41)',
  'worker_run_batch (src/serve/worker.c:212)',
  'worker_loop (src/serve/worker.c:301)',
  'role_worker (src/app/role_worker.c:88)',
  'main (src/app/main.c:37)',
];

const STAGES_OF = {
  slow: [40, 120, 41_000, 4_100, 15, 90],
  failed: [30, 90, 30_000, 0, 0, 60],
  refused: [30, 25, 8, 0, 0, 40],
  invalid: [28, 40, 0, 0, 0, 35],
  usual: [12, 30, 90, 160, 11, 44],
};

const OUTCOMES = { slow: ['ok', 200], failed: ['timeout', 504], refused: ['busy', 429], invalid: ['invalid', 400], usual: ['ok', 200] };

const TEXTS = {
  slow: [
    'It took 45.3 ms, where 1.20 ms is the mean of the model\'s latest requests.',
    '41.0 ms of its 45.4 ms went by waiting for its run.',
    'When it came 128 rows were ahead of it on 2 instances; its answer was expected after 38.0 ms.',
    'It shared its run with 7 other requests, 32 rows in all.',
  ],
  failed: ['Its deadline of 30.0 ms passed before an instance was free to run it.', '1 worker died while running it; it was run again.'],
  refused: [
    'It was refused when it came: 512 rows were ahead of it on 2 instances, so its answer was expected after 64.0 ms, and it allowed 50.0 ms.',
    'It was told to try again after 15 ms.',
  ],
  invalid: ['It was not run: the request is wrong, or asks for what is not there.'],
  usual: ['It took 303 us, which is not unusual: the mean of the model\'s latest requests is 310 us.'],
};

const ERRORS = {
  failed: ["Request timeout expired: model 'iris' did not answer within 30 ms", 'try again, give the model more instances, or raise models.NAME.timeout'],
  refused: ["model 'iris' would answer in 64 ms, after the request's deadline: 512 rows are ahead of it", 'try again after 15 ms, or allow more time'],
  invalid: ["unexpected shape for input 'X' for model 'iris'. Expected [-1,4], got [1,2].", 'GET /v2/models/iris/sample shows requests that this model takes'],
};

function requestJson(kind, i, atMs, pid, model) {
  const us = STAGES_OF[kind];
  const [outcome, status] = OUTCOMES[kind];
  const runs = kind === 'slow' || kind === 'usual';
  return {
    id: `${kind}-${String(i).padStart(4, '0')}-3b1e0f6a`, model, version: '1', path: '/predict', kind, outcome, status,
    error: ERRORS[kind]?.[0] ?? '', remedy: ERRORS[kind]?.[1] ?? '', at_ms: atMs, total_us: us.slice(0, 5).reduce((a, b) => a + b),
    usual_us: 1200, stages_us: Object.fromEntries(STAGES.map((s, k) => [s, us[k]])), rows: kind === 'invalid' ? 0 : 4,
    batch_rows: runs ? 32 : 0, batch_requests: runs ? 8 : 0, batch_mates: runs ? ['a-1', 'b-2', 'c-3'] : [], attempts: runs ? 1 : 0,
    worker_pid: runs ? pid : 0, usual_run_us: runs ? 3900 : 0,
    admission: {
      refused_by: kind === 'refused' ? 'deadline' : '', ahead_rows: kind === 'usual' ? 0 : 128, expected_us: kind === 'usual' ? 0 : 38_000,
      deadline_us: kind === 'invalid' ? 0 : 30_000_000, priority: 1, instances: 2, queue: 3, queue_max: 1024, retry_after_ms: kind === 'refused' ? 15 : 0,
    },
    cache: 'off', isolation: 'process', body_bytes: 47, why: TEXTS[kind],
  };
}

const setting = (key, value, from, more = {}) => ({ key, value, from, ...more });

export class World {
  constructor(scenario = 'busy') {
    this.set(scenario);
  }

  set(scenario) {
    const rand = random(7);
    const quiet = scenario === 'quiet' || scenario === 'empty' || scenario === 'starting';
    const many = Array.from({ length: 24 }, (_, i) => ({ ...MODELS[i % 4], name: `${MODELS[i % 4].name}-${i + 1}`, wave: 60 + i * 17 }));
    const hundred = Array.from({ length: 100 }, (_, i) => ({ ...MODELS[i % 4], name: LONG_NAMES[i] ?? `${MODELS[i % 4].name}-${i + 1}`, wave: 60 + i * 7 }));
    const specs = { empty: [], many, hundred }[scenario] ?? MODELS;
    Object.assign(this, { scenario, rand, now: Date.now(), seconds: quiet ? 4 : 700, http: 0, crashes: [], restarts: {}, pids: {}, nextPid: 4210 });
    this.started = this.now - (quiet ? 4000 : (3 * 86400 + 4 * 3600 + 17 * 60) * 1000);
    this.models = specs.map((s) => new FakeModel(quiet ? { ...s, per_s: 0 } : s, rand, this.seconds));
    if (scenario === 'starting') for (const m of this.models.slice(1)) m.state = 'loading';
    this.broken = quiet || scenario === 'many' ? [] : BROKEN;
    this.busiest = scenario === 'hundred' ? LONG_NAMES[0] : 'iris';
    this.rss = Array.from({ length: this.seconds }, (_, i) => this.memoryAt(i));
    if (!quiet) {
      this.crash('ocr', 1, 42 * 60e3, 9, 'SIGKILL', 'killed: the kernel ran out of memory (its limit was 512 MiB)', '', []);
      this.crash(this.busiest, 0, 95e3, 11, 'SIGSEGV', 'invalid address 0x0000000000000010', '7f3c0a51e9b84d2a8f5f0c1b6a9d3e42', STACK);
    }
  }

  memoryAt(i) {
    return Math.round((206 + 9 * Math.sin(i / 60) + Math.min(22, i / 40) + 1.5 * this.rand()) * MIB);
  }

  advance() {
    const to = Date.now();
    while (to - this.now >= STEP_MS) {
      this.now += STEP_MS;
      this.seconds++;
      for (const m of this.models) if (m.state === 'ready') m.step();
      this.rss.push(this.memoryAt(this.seconds));
      if (this.rss.length > HISTORY) this.rss.shift();
    }
  }

  crash(model, instance, agoMs, signal, name, reason, request, stack) {
    const key = `${model}#${instance}`;
    this.restarts[key] = (this.restarts[key] ?? 0) + 1;
    delete this.pids[key];
    this.crashes.push({
      id: `${(1e9 + this.crashes.length * 7919).toString(36)}-${model}`, time_ms: Date.now() - agoMs, role: 'worker', pid: 4100 + this.crashes.length,
      model, instance, signal, signal_name: name, reason, request_id: request, stack,
    });
  }

  pid(key) {
    this.pids[key] ??= this.nextPid++;
    return this.pids[key];
  }

  process(role, model, instance, rss, cpu) {
    const key = model ? `${model.spec.name}#${instance}` : role;
    const restarts = this.restarts[key] ?? 0;
    return {
      role, pid: this.pid(key), model: model?.spec.name ?? '', version: model?.version ?? '', instance, restarts,
      state: this.scenario === 'draining' && role !== 'master' ? 'draining' : model && model.state !== 'ready' ? 'starting' : 'ready',
      since_ms: restarts ? this.now - 95e3 : this.started + 40, reason: '', rss_bytes: Math.round(rss * MIB),
      cpu_ms: Math.round(this.seconds * cpu),
    };
  }

  processes() {
    const list = [this.process('master', null, 0, 5.1, 1), this.process('edge', null, 0, 21 + this.rand(), this.models.length ? 36 : 2)];
    for (const m of this.models) {
      if (m.spec.isolation === 'inline') continue;
      for (let i = 0; i < m.spec.instances; i++) list.push(this.process('worker', m, i, m.spec.memory / MIB / 2 + 9, m.spec.per_s * m.spec.ms * 0.4));
    }
    for (const b of this.broken) {
      if (b.state !== 'failed') continue;
      list.push({ ...this.process('worker', null, 0, 0, 0), pid: 0, model: b.name, version: '1', state: 'failed', restarts: 3, rss_bytes: 0, cpu_ms: 0, reason: 'gave up after 3 starts' });
    }
    return list;
  }

  status() {
    this.advance();
    const requests = this.models.reduce((sum, m) => sum + m.requests, 0);
    const models = [...this.models.map((m) => m.toJson()), ...this.broken.map(brokenJson)].sort((a, b) => (a.name < b.name ? -1 : 1));
    return {
      version: '0.1.0', started_at_ms: this.started, now_ms: this.now, ready: !['starting', 'draining'].includes(this.scenario),
      draining: this.scenario === 'draining', listen: ['127.0.0.1:8000', '[::1]:8000'],
      http: { connections_open: 66, requests: requests + 1200, bad_requests: 14, bytes_in: requests * 212, bytes_out: requests * 344 },
      processes: this.processes(), models, crashes: this.crashes, memory: this.memory(), versions: this.versions(),
      last_error: this.scenario === 'starting' ? 'reload refused, the old configuration goes on: quern.yaml:4:3: models.iris.instances: 0 is below 1' : '',
    };
  }

  memory() {
    if (this.scenario !== 'busy' && this.scenario !== 'hundred') return { budget_bytes: 0, held_bytes: 0, program_bytes: 0, models: [] };
    const one = (name, state, need, why, loads, unloads) => ({
      name, version: '1', load: 'on-demand', state, measured: true, need_bytes: need * MIB, used_ms: state === 'loaded' ? this.now - 4000 : 0, wanted_ms: 0,
      expected_ms: 0, loads, unloads, why,
    });
    return {
      budget_bytes: 256 * MIB, held_bytes: 172 * MIB, program_bytes: 12 * MIB,
      models: [
        one('filetype', 'loaded', 61, 'loaded for a request', 3, 2),
        one('ocr', 'loaded', 88, 'loaded for a request', 1, 0),
        one(this.scenario === 'hundred' ? LONG_NAMES[1] : 'segment-large', 'unloaded', 140, 'unloaded to make room for ocr', 2, 2),
      ],
    };
  }

  versions() {
    return this.models.map((m) => ({
      name: m.spec.name, version: m.version, state: 'ready', reason: '',
      ...(m.spec.name === 'iris' && { compared: "same: max difference 2.1e-07 in output 'probabilities', row 0 of kept request 3 (4 kept requests, 1 warm-up sample, 3 made-up requests); tolerance 0.001" }),
      ...(m.spec.name === 'ocr' && { state: 'canary' }),
    }));
  }

  history() {
    this.advance();
    const models = this.models.map((m) => ({ name: m.spec.name, version: m.version, ...m.history }));
    return { step_ms: STEP_MS, end_ms: this.now, models, rss_bytes: this.rss };
  }

  requests(kinds, max) {
    const asked = kinds ? kinds.split(',') : Object.keys(STAGES_OF);
    const all = ['busy', 'draining', 'hundred'].includes(this.scenario) ? 60 : 0;
    const list = [];
    for (let i = 0; i < all; i++) {
      const kind = Object.keys(STAGES_OF)[i % 5];
      if (asked.includes(kind)) list.push(requestJson(kind, i, this.now - i * 1700, this.pid(`${this.busiest}#0`), this.busiest));
    }
    return { now_ms: this.now, requests: list.slice(0, max) };
  }

  request(id) {
    return this.requests('', 100).requests.find((r) => r.id === id);
  }

  model(name) {
    const status = this.status().models.find((m) => m.name === name);
    if (!status) return null;
    const measured = [1, 2, 4, 8, 16, 32, 64].map((rows) => ({ rows, ms: 0.09 + 0.0035 * rows }));
    const settings = [
      setting('path', `/srv/models/${name}.onnx`, 'file', { line: 4 }),
      setting('backend', status.backend, 'inferred', { reason: "by the file's extension" }),
      setting('instances', '2', 'file', { line: 5 }),
      setting('threads', '1', 'default'),
      setting('max_batch', '0', 'default'),
      setting('batching.delay', '2ms', 'config.pbtxt'),
      setting('queue_max', '1024', 'default'),
      setting('labels', '{}', 'default'),
    ];
    return {
      now_ms: this.now,
      models: [
        {
          status: { ...status, batching: { delay_ms: 2, preferred: [], sizes: [], ordered: false, priority: 1, measured, run_us: 92, row_us: 3.4 },
            scale: {
              instances: 2, threads: 1, instances_from: 'auto', threads_from: 'auto', budget: 2, state: 'settled', kept: true, rows: 1,
              reason: '1 x 1: 8,100/s, 2 x 1: 15,900/s (rows, instances x threads)',
              measured: [[1, 1, 8100], [2, 1, 15_900]].map(([instances, threads, rate]) => ({ instances, threads, rows_per_s: rate, cpu_us_per_row: 118, spread: 1.02 })),
            },
            memory: {
              loaded: true, measured: true, need_bytes: 31 * MIB, private_bytes: 24 * MIB, shared_bytes: 7 * MIB, program_bytes: 3 * MIB, peak_bytes: 33 * MIB,
              load_ms: 38, loads: 1, unloads: 0, waiting: 0,
            },
          },
          explain: { file: '/etc/quern/quern.yaml', folder: '/srv/models', pbtxt: '', settings },
          chosen: [
            { key: 'max_batch', value: String(status.max_batch), reason: status.batch_reason },
            { key: 'backend', value: status.backend, reason: `platform ${status.platform}` },
          ],
          labels: '', ready_at_ms: this.started, workers: [{ instance: 0, runs: 4100, rows: 20_200, busy_ms: 5600, failures: 0 }],
          run_sizes: [{ rows: 4, runs: 3100, mean_us: 104 }, { rows: 32, runs: 1000, mean_us: 201 }],
          cache: { bytes: 40_960, budget_bytes: 1_048_576, entries: 31, evictions: 0, hits: 120, misses: 31 },
          failures_by_reason: { refused: 12, cancelled: 0, backend: 1, other: 0 }, quarantined: 0,
        },
      ],
    };
  }

  sample(name) {
    if (!this.models.some((m) => m.spec.name === name)) return null;
    const row = [5.1, 3.5, 1.4, 0.2];
    const predict = { modelId: name, features: row };
    return {
      predict,
      infer: { inputs: [{ name: 'X', shape: [1, 4], datatype: 'FP32', data: row }] },
      curl: `curl -d '${JSON.stringify(predict)}' 127.0.0.1:8000/predict`,
    };
  }

  // As text, because a 64-bit integer must keep its digits.
  predict(body) {
    if (!this.models.some((m) => m.spec.name === body.modelId)) {
      return [404, `{"code":404,"message":"no model '${body.modelId}'; there are: ${this.models.map((m) => m.spec.name).join(', ')}"}`];
    }
    return [
      200,
      `{"code":200,"message":"success","data":{"prediction":0,"model":"${body.modelId}","version":"1","outputs":{"label":[0],` +
        `"probabilities":[[0.97999995946884155,0.019999999552965164,0]],"row_hash":[9223372036854775807]}},"request_id":"4bf92f3577b34da6a3ce929d0e0e4736"}`,
    ];
  }
}
