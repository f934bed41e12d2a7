// `node send-simple-hl7.mjs PORT`: sends the messages on standard input (JSON) over one connection, one by one; prints each answer.
import { readFileSync } from 'node:fs';
import simple from 'simple-hl7';

const client = simple.Server.createTcpClient({ host: '127.0.0.1', port: Number(process.argv[2]), keepalive: true });
const parser = new simple.Parser();
const send = (text) => new Promise((take, fail) => {
  client.send(parser.parse(text), (error, answer) => (error ? fail(error) : take(answer)));
});
for (const text of JSON.parse(readFileSync(0, 'utf8'))) {
  console.log(JSON.stringify((await send(text)).toString()));
}
client.close();
