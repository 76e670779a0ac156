package export

// readme tells an auditor who has nothing but the package and the log's public key what is here and how to check it,
// with our program or without.
const readme = `EVIDENCE PACKAGE OF AN AUDIT LOG

What this is
  A contiguous part of a tamper-evident log, with the proofs that it is complete and unchanged. All you need besides
  this archive is the log's public key, which you should have got from somewhere else than this archive.

How to check it
  diamante audit verify PACKAGE --key LOG_PUBLIC_KEY
  It needs no network and no database. It accepts this archive byte for byte as it was made, and nothing else.

The files
  manifest.json          the range that was asked for, by whom and why; which records are here; hashes of the files
  events.jsonl           the records, one a line, in the order of their index; each line is the exact text that was
                         hashed. This is the evidence; anything made from it, such as a table, is a view of it.
  index.jsonl            for each of them: index, id, time, whether its time is in the range, and its leaf hash
  export.json            the record of this very export, in the log itself; it holds the SHA-256 of manifest.json
  checkpoint.note        a signed state of the log (size and root) that covers all of the above
  checkpoint-older.note  a signed state from before the range, or the log's first one
  proofs.jsonl           that the newer state extends the older one; that export.json is in the newer one; and then
                         that each record is

What is proved, to whoever trusts the key
  1. Each record is in the log at its index, and has not been changed since it was signed.
  2. No record between the first and the last index is missing. Where the older state is from before the range, nothing
     that was added to the log after it, up to the last index, is missing. The first record is from before the range, or
     the log's first; the last one is from after the range, or the request for this package, whose index the manifest
     names.
  3. The log has only been added to since the older state. Keep checkpoint.note: the next package must extend it.
  4. This export is itself recorded; the log's signature is the signature on this package.
  Records marked "malformed" in index.jsonl are in the log as they are, but our program did not write them.
What is not proved: that what a record says is true, and that the clock of who wrote it was right. Records are ordered
by their transactions, so times may be slightly out of order; that is why there can be records just outside the range.

How to check it by hand
  Leaf hash of a record:  SHA-256 of the byte 0x00 and its line without the newline.
  Inner hash:             SHA-256 of the byte 0x01 and the two hashes below it (RFC 6962, section 2.1).
  Proofs:                 RFC 6962, sections 2.1.1 and 2.1.2.
  Checkpoints:            three lines (name, size, root) signed with Ed25519 (C2SP tlog-checkpoint and signed-note).
  Records:                canonical JSON (RFC 8785), where integers have all their digits.
  All times are in UTC.
`
