// `node receive-medplum.mjs PORT [enhanced]`: answers each message, prints it, and ends with its standard input.
import { Hl7Server } from '@medplum/hl7';

const server = new Hl7Server((connection) => connection.addEventListener('message', ({ message }) => {
  console.log(JSON.stringify(message.toString()));
  connection.send(message.buildAck());
}));
server.start(Number(process.argv[2]), undefined, process.argv[3] === 'enhanced');
server.server.on('listening', () => console.log('ready'));
process.stdin.on('end', () => process.exit(0)).resume();
