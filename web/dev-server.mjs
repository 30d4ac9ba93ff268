// The dashboard without a quern: serves web/dist and a pretended server's facts on loopback. For development and for browser tests
// of states that are hard to reach; nothing of it is in the product.
//   node web/dev-server.mjs [PORT]                 builds, serves, and builds again when a source changes
//   curl -X POST localhost:5173/dev/scenario/NAME  busy | quiet | empty | starting | draining | many | hundred | unreachable
//   curl -X POST localhost:5173/dev/crash          a worker of iris dies
import { readFileSync, watch } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from './build.mjs';
import { World } from './dev/fake.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml', '.txt': 'text/plain; charset=utf-8' };
const BODY_MAX = 1 << 20;

// The product's policy, so that a violation shows here first.
const CSP = /#define ASSET_CSP([\s\S]*?)\n\n/
  .exec(readFileSync(join(here, '../src/app/assets.h'), 'utf8'))[1]
  .match(/"[^"]*"/g)
  .map((s) => s.slice(1, -1))
  .join('');

function file(response, path) {
  const name = path === '/' ? 'index.html' : path.slice(1);
  const type = TYPES[extname(name)];
  if (!type || !/^[a-z0-9.-]+$/.test(name)) return false;
  let data;
  try {
    data = readFileSync(join(here, 'dist', name));
  } catch {
    return false;
  }
  response.writeHead(200, { 'content-type': type, 'content-security-policy': CSP, 'cache-control': 'no-cache' });
  response.end(data);
  return true;
}

function json(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json', 'x-request-id': '4bf92f3577b34da6a3ce929d0e0e4736' });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

async function bodyOf(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > BODY_MAX) throw new Error('the body is too large for the dev server');
  }
  return text;
}

async function post(world, path, request, response) {
  const scenario = /^\/dev\/scenario\/([a-z]+)$/.exec(path);
  if (scenario) {
    world.set(scenario[1]);
    return json(response, 200, { scenario: scenario[1] });
  }
  if (path === '/dev/crash') {
    world.crash('iris', 1, 0, 9, 'SIGKILL', 'killed from outside', '', []);
    return json(response, 200, {});
  }
  let body;
  try {
    body = JSON.parse(await bodyOf(request));
  } catch (e) {
    return json(response, 400, { code: 400, message: `the body is not JSON: ${e.message}` });
  }
  const infer = /^\/v2\/models\/([^/]+)(?:\/versions\/[^/]+)?\/infer$/.exec(path);
  if (infer) {
    const outputs = [{ name: 'label', datatype: 'INT64', shape: [1], data: [0] }];
    return json(response, 200, { model_name: decodeURIComponent(infer[1]), model_version: '1', outputs });
  }
  if (path === '/predict') return json(response, ...world.predict(body));
  return json(response, 404, { error: `no such path: ${path}` });
}

function get(world, path, query, response) {
  if (path === '/api/status') return json(response, 200, world.status());
  if (path === '/api/history') return json(response, 200, world.history());
  if (path === '/api/requests') return json(response, 200, world.requests(query.get('kind') ?? '', Number(query.get('n') ?? 100)));
  const request = /^\/api\/requests\/([^/]+)$/.exec(path);
  if (request) {
    const found = world.request(decodeURIComponent(request[1]));
    return found ? json(response, 200, found) : json(response, 404, { error: `no record of a request '${decodeURIComponent(request[1])}'` });
  }
  const model = /^\/api\/models\/([^/]+)$/.exec(path);
  if (model) {
    const found = world.model(decodeURIComponent(model[1]));
    return found ? json(response, 200, found) : json(response, 404, { error: `no model '${decodeURIComponent(model[1])}' is served` });
  }
  const sample = /^\/v2\/models\/([^/]+)\/sample$/.exec(path);
  const body = sample && world.sample(decodeURIComponent(sample[1]));
  if (body) return json(response, 200, body);
  return file(response, path) || json(response, 404, { error: `no such path: ${path}` });
}

export async function startDevServer({ port = 0, scenario = 'busy' } = {}) {
  const world = new World(scenario);
  const server = createServer((request, response) => {
    const { pathname: path, searchParams: query } = new URL(request.url, 'http://localhost');
    const isFile = request.method === 'GET' && !/^\/(api|v2)\//.test(path);
    if (world.scenario === 'unreachable' && !isFile && !path.startsWith('/dev/')) return request.socket.destroy();
    if (request.method === 'POST') return post(world, path, request, response);
    return get(world, path, query, response);
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    world,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await build();
  const { url } = await startDevServer({ port: Number(process.argv[2] ?? 5173) });
  console.log(`dashboard with pretended data: ${url}`);
  let timer = null;
  watch(join(here, 'src'), { recursive: true }, () => {
    clearTimeout(timer);
    timer = setTimeout(() => build().then(() => console.log('built'), (e) => console.error(e.message)), 100);
  });
}
