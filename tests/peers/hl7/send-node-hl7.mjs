// `node send-node-hl7.mjs PORT`: sends the messages on standard input (JSON) over one connection, one by one; prints each answer.
import { Client, Message } from 'node-hl7-client';
import { readFileSync } from 'node:fs';

let answered;
const out = new Client({ host: '127.0.0.1' }).createConnection({ port: Number(process.argv[2]) }, (answer) => answered(answer));
for (const text of JSON.parse(readFileSync(0, 'utf8'))) {
  const answer = new Promise((take) => { answered = take; });
  await out.sendMessage(new Message({ text }));
  console.log(JSON.stringify((await answer).getMessage().toString()));
}
process.exit(0);
