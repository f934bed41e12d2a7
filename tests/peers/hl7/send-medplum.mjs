// `node send-medplum.mjs PORT`: sends the messages on standard input (JSON) over one connection, one by one; prints each answer.
// Not all at once: answers that come in one packet are taken for one.
import { Hl7Message } from '@medplum/core';
import { Hl7Client } from '@medplum/hl7';
import { readFileSync } from 'node:fs';

const client = new Hl7Client({ host: '127.0.0.1', port: Number(process.argv[2]), keepAlive: true });
for (const text of JSON.parse(readFileSync(0, 'utf8'))) {
  console.log(JSON.stringify((await client.sendAndWait(Hl7Message.parse(text))).toString()));
}
await client.close();
