// node observatory.mjs PACKAGE NAME ADDRESS: scan a name that no resolver knows, at an address. Who signed the
// certificate is not asked here, so that the rules are applied to the headers as a visitor of the real name gets them.
import dns from "node:dns";
import tls from "node:tls";
import { pathToFileURL } from "node:url";

const [place, name, address] = process.argv.slice(2);

dns.lookup = (asked, options, done) => {
  if (asked !== name) return done(new Error(`${asked}: no other site may be asked`));
  return options.all ? done(null, [{ address, family: 4 }]) : done(null, address, 4);
};
const { connect } = tls;
tls.connect = (options, ...rest) => connect({ ...options, rejectUnauthorized: false }, ...rest);

const { scan } = await import(pathToFileURL(`${place}/src/scanner/index.js`));
console.log(JSON.stringify(await scan(name)));
