// `node receive-simple-hl7.mjs PORT`: answers each message, prints it, and ends with its standard input.
import simple from 'simple-hl7';

const server = simple.tcp();
server.use((request, response, next) => {
  console.log(JSON.stringify(request.msg.toString()));
  response.end();
});
server.start(Number(process.argv[2]));
console.log('ready');
process.stdin.on('end', () => process.exit(0)).resume();
