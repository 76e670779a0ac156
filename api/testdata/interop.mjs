// Talks to the public listener as a wallet does, with an SDK that we did not write: logs in by SEP-10, asks for a deposit
// by SEP-6, loads its account and submits a payment. Arguments: URL of the listener, secret seed, server's signing key,
// network passphrase, home domain, web auth domain.
import { createRequire } from "node:module";
const require = createRequire(process.env.DIAMANTE_STELLAR_SDK + "/x.js");
const { Asset, BASE_FEE, Horizon, Keypair, Memo, NotFoundError, Operation, TransactionBuilder, WebAuth, StellarToml } = require("@stellar/stellar-sdk");

const [url, seed, signingKey, passphrase, homeDomain, webAuthDomain] = process.argv.slice(2);
const key = Keypair.fromSecret(seed);
const check = (ok, what) => { if (!ok) throw new Error(what); };

const host = new URL(url).host;
const toml = await StellarToml.Resolver.resolve(host);
check(toml.SIGNING_KEY === signingKey && toml.NETWORK_PASSPHRASE === passphrase, "stellar.toml");

const challenge = await (await fetch(`${url}/auth?account=${key.publicKey()}`)).json();
const { tx, clientAccountID } = WebAuth.readChallengeTx(challenge.transaction, signingKey, passphrase, homeDomain, webAuthDomain);
check(clientAccountID === key.publicKey(), "challenge");
tx.sign(key);
const answer = await fetch(`${url}/auth`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ transaction: tx.toXDR() }) });
const { token } = await answer.json();
check(token, "token");
const deposit = await fetch(`${url}/sep6/deposit?asset_code=USD&account=${key.publicKey()}&funding_method=WIRE`, { headers: { Authorization: `Bearer ${token}` } });
check(deposit.status === 200, "deposit");

const server = new Horizon.Server(url);
const account = await server.loadAccount(key.publicKey());
check(account.sequenceNumber() === "41" && account.balances.length === 1 && account.data_attr["config.x"] === "MQ==", "account");
const payment = new TransactionBuilder(account, { fee: BASE_FEE, networkPassphrase: passphrase })
  .addOperation(Operation.payment({ destination: key.publicKey(), asset: Asset.native(), amount: "1" }))
  .addMemo(Memo.text("rent")).setTimeout(60).build();
payment.sign(key);
const done = await server.submitTransaction(payment);
check(done.successful === true && done.hash === payment.hash().toString("hex"), "submission");
const again = await server.transactions().transaction(done.hash).call();
check(again.ledger_attr === done.ledger && again.memo === "rent", "transaction");
try {
  await server.loadAccount(Keypair.random().publicKey());
  check(false, "an account that is not there was loaded");
} catch (e) {
  check(e instanceof NotFoundError, `not found: ${e}`);
}
check((await server.feeStats()).last_ledger_base_fee === "100", "fee stats");
console.log("ok");
