// A client of pluton.storage.v1: tests the connection, stores a file, lists it, reads it with an
// interruption, hashes and deletes it, and decodes an error.

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import {
  type CallOptions,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";

import { ErrorInfo, RetryInfo } from "../gen/google/rpc/error_details";
import { Status } from "../gen/google/rpc/status";
import {
  AboutRequest,
  DeleteRequest,
  GetInfoRequest,
  GetRequest,
  type GetResponse,
  HashRequest,
  ListRequest,
  type ListResponse,
  PutHeader,
  type PutRequest,
  type PutResponse,
  StatRequest,
  StorageBackendClient,
  TestConnectionRequest,
} from "../gen/pluton/storage/v1/storage";
import { checkStateToJSON, type Entry, HashAlgorithm } from "../gen/pluton/storage/v1/types";
// Which calls may be repeated by themselves, and how often. It becomes a part of the bundle.
import serviceConfig from "../../../proto/pluton/storage/v1/storage_grpc_service_config.json";

const CHUNK = 256 * 1024;
const { env } = process;

function options() {
  const { values } = parseArgs({
    options: {
      address: { type: "string", default: env.PLUTON_FICHIER_SERVER ?? "127.0.0.1:50051" }, // or unix:/path
      tls: { type: "boolean", default: false }, // encrypt, and trust the authorities that Node.js knows
      ca: { type: "string", default: env.PLUTON_FICHIER_CA }, // encrypt, and trust those in this PEM file
      "token-file": { type: "string" }, // not the token itself: everybody on the machine can read arguments
      timeout: { type: "string", default: "120" }, // seconds for each call
      size: { type: "string", default: String(8 << 20) }, // bytes of the file that is stored
    },
  });
  const file = values["token-file"];
  return {
    address: values.address,
    ca: values.ca ? readFileSync(values.ca) : undefined,
    tls: values.tls || Boolean(values.ca),
    token: file ? readFileSync(file, "utf8").trim() : env.PLUTON_FICHIER_TOKEN,
    timeout: Number(values.timeout) * 1000,
    size: Number(values.size),
  };
}

/** The client, with what every call carries. */
class Storage {
  readonly #client: StorageBackendClient;
  readonly #metadata = new Metadata();
  readonly #timeout: number;

  constructor(settings: ReturnType<typeof options>) {
    const security = settings.tls ? credentials.createSsl(settings.ca) : credentials.createInsecure();
    this.#client = new StorageBackendClient(settings.address, security, {
      "grpc.service_config": JSON.stringify(serviceConfig),
    });
    if (settings.token) this.#metadata.set("authorization", `Bearer ${settings.token}`);
    this.#timeout = settings.timeout;
  }

  close() {
    this.#client.close();
  }

  #options(): CallOptions {
    return { deadline: Date.now() + this.#timeout };
  }

  /** A unary call as a promise. */
  #unary<Q, A>(
    method: (request: Q, metadata: Metadata, options: CallOptions, done: (error: ServiceError | null, answer: A) => void) => ClientUnaryCall,
    request: Q,
  ): Promise<A> {
    return new Promise((resolve, reject) => {
      method.call(this.#client, request, this.#metadata, this.#options(), (error, answer) => (error ? reject(error) : resolve(answer)));
    });
  }

  async testConnection() {
    const info = await this.#unary(this.#client.getInfo, GetInfoRequest.create());
    console.log(`server: ${info.serverName} ${info.serverVersion}, remote ${info.remotes[0]?.name}`);
    const about = await this.#unary(this.#client.about, AboutRequest.create());
    console.log(`space: ${about.freeBytes} bytes free`);
    const { checks, healthy } = await this.#unary(this.#client.testConnection, TestConnectionRequest.create());
    for (const { name, state, failure } of checks) {
      const word = checkStateToJSON(state).replace("CHECK_STATE_", "").toLowerCase();
      console.log(`check ${name}: ${word}${failure?.message ? `: ${failure.message}` : ""}`);
    }
    if (!healthy) throw new Error("the remote does not work");
  }

  /** Nothing is stored before the commit; the answer comes when the file is verified. */
  async put(path: string, content: Buffer): Promise<Entry> {
    const checksum = { algorithm: HashAlgorithm.HASH_ALGORITHM_SHA256, hex: sha256(content) };
    let answered!: (error: ServiceError | null, answer: PutResponse) => void;
    const answer = new Promise<PutResponse>((resolve, reject) => {
      answered = (error, value) => (error ? reject(error) : resolve(value));
    });
    const stream = this.#client.put(this.#metadata, this.#options(), (error, value) => answered(error, value));
    // Whoever writes faster than the server reads waits, or all of the file would be in memory. The
    // server may also end the call before it has everything.
    let over = false;
    const ended = answer.then(
      () => { over = true; },
      () => { over = true; },
    );
    const write = async (payload: PutRequest["payload"]) => {
      if (stream.write({ payload })) return;
      await Promise.race([new Promise((resolve) => stream.once("drain", resolve)), ended]);
    };
    await write({ $case: "header", header: PutHeader.fromPartial({ path, size: content.length }) });
    for (let offset = 0; offset < content.length && !over; offset += CHUNK) {
      const data = content.subarray(offset, offset + CHUNK);
      await write({ $case: "chunk", chunk: { offset, data } });
      const [before, done] = [offset, offset + data.length].map((at) => Math.floor((at * 4) / content.length));
      if (done > before) console.log(`put: ${done * 25} %`);
    }
    if (!over) {
      await write({ $case: "commit", commit: { size: content.length, checksums: [checksum] } });
      stream.end();
    }
    const entry = (await answer).entry!;
    console.log(`put: stored ${entry.path}, ${entry.size} bytes`);
    return entry;
  }

  async list(path: string) {
    const stream = this.#client.list(ListRequest.fromPartial({ path }), this.#metadata, this.#options());
    for await (const page of stream as AsyncIterable<ListResponse>) {
      for (const { path, failure } of page.failures) console.error(`list: ${path}: ${failure?.message}`);
      for (const { path, size } of page.entries) console.log(`list: ${path} ${size}`);
    }
  }

  /**
   * The content from `offset` on, and whether it is complete: only with its trailer is it. With
   * `stopAfter` it leaves after so many bytes, as if the network had failed.
   */
  async get(path: string, { offset = 0, ifMatchEtag = "", stopAfter = Infinity } = {}) {
    // The etag: what is read later must be the same file.
    const request = GetRequest.fromPartial({ path, ranges: offset ? [{ offset }] : [], ifMatchEtag });
    const stream = this.#client.get(request, this.#metadata, this.#options());
    const parts: Uint8Array[] = [];
    let length = 0;
    let complete = false;
    try {
      for await (const { payload } of stream as AsyncIterable<GetResponse>) {
        if (payload?.$case === "chunk") {
          parts.push(payload.chunk.data);
          length += payload.chunk.data.length;
          if (length >= stopAfter) stream.cancel();
        } else if (payload?.$case === "trailer") complete = true;
      }
    } catch (error) {
      if ((error as ServiceError).code !== status.CANCELLED) throw error;
    }
    return { content: Buffer.concat(parts), complete };
  }

  async hash(path: string) {
    const request = HashRequest.fromPartial({ path, algorithm: HashAlgorithm.HASH_ALGORITHM_SHA256 });
    const { checksum } = await this.#unary(this.#client.hash, request);
    return checksum!.hex;
  }

  /** A batch has one result for each file, and each may have failed. */
  async delete(path: string) {
    const { results } = await this.#unary(this.#client.delete, DeleteRequest.fromPartial({ targets: [{ path }] }));
    for (const { path, failure } of results) {
      if (failure) throw new Error(`${failure.reason}: ${failure.message}`);
      console.log(`deleted: ${path}`);
    }
  }

  async stat(path: string) {
    return (await this.#unary(this.#client.stat, StatRequest.fromPartial({ path }))).entry!;
  }
}

function sha256(content: Uint8Array) {
  return createHash("sha256").update(content).digest("hex");
}

/** The text, the reason and the delay of an error: its details are messages of google.rpc. */
function explain(error: unknown): string {
  const { code, details, message, metadata } = error as ServiceError;
  if (!metadata) return message;
  let [reason, delay] = ["", ""];
  const [encoded] = metadata.get("grpc-status-details-bin");
  for (const { typeUrl, value } of encoded ? Status.decode(encoded as Buffer).details : []) {
    if (typeUrl.endsWith("/google.rpc.ErrorInfo")) reason = ` ${ErrorInfo.decode(value).reason}`;
    if (typeUrl.endsWith("/google.rpc.RetryInfo")) {
      const { seconds = 0, nanos = 0 } = RetryInfo.decode(value).retryDelay ?? {};
      delay = ` (retry in ${(seconds + nanos / 1e9).toFixed(1)} s)`;
    }
  }
  return `${status[code]}${reason}: ${details}${delay}`;
}

async function main() {
  const settings = options();
  const path = "examples/typescript/demo.bin";
  const content = randomBytes(settings.size);
  const storage = new Storage(settings);
  try {
    await storage.testConnection();
    const entry = await storage.put(path, content);
    await storage.list("examples/typescript");

    const first = await storage.get(path, { stopAfter: content.length / 2 });
    const offset = first.content.length;
    console.log(`get: interrupted after ${offset} bytes, complete: ${first.complete}`);
    const rest = await storage.get(path, { offset, ifMatchEtag: entry.etag });
    const same = Buffer.concat([first.content, rest.content]).equals(content);
    console.log(`get: resumed at ${offset}, complete: ${rest.complete}, same: ${same}`);

    const checksum = await storage.hash(path);
    console.log(`hash: sha256 ${checksum}`);
    await storage.delete(path);
    await storage.stat(path).then(
      () => { throw new Error("the file is still there"); },
      (error) => console.log("as expected:", explain(error)),
    );
    if (!same || !rest.complete || checksum !== sha256(content)) throw new Error("what was read is not what was stored");
    console.log("done");
  } finally {
    storage.close();
  }
}

main().catch((error) => {
  console.error(`error: ${explain(error)}`);
  process.exitCode = 1;
});
