// `node receive-node-hl7.mjs PORT`: answers each message, prints it, and ends with its standard input.
import { Server } from 'node-hl7-server';

const inbound = new Server({ bindAddress: '127.0.0.1' }).createInbound({ port: Number(process.argv[2]) }, async (request, response) => {
  console.log(JSON.stringify(request.getMessage().toString()));
  await response.sendResponse('AA');
});
inbound.on('listen', () => console.log('ready'));
process.stdin.on('end', () => process.exit(0)).resume();
