// Chroma's JavaScript client.
//
//   node --input-type=module - <base-url> [<api-key>] < javascript.mjs
//
// in a directory that has the client in its node_modules: read from standard input, a module's
// imports are looked up there. The key is sent as `x-chroma-token`.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { AdminClient, ChromaClient } from "chromadb";

const [url, key] = process.argv.slice(2);
const server = {
  host: new URL(url).hostname,
  port: Number(new URL(url).port),
  ssl: false,
  headers: key ? { "x-chroma-token": key } : {},
};
const client = new ChromaClient(server);

const planets = {
  ids: ["mars", "venus", "earth"],
  embeddings: [
    [1, 0],
    [0, 1],
    [-1, 0],
  ],
  documents: ["a red planet", "a hot planet", "a blue one 🌍"],
  metadatas: [
    { n: 4, moons: 2, mass: 0.107, life: false },
    { n: 2, mass: 0.815, life: false },
    { n: 3, moons: 1, life: true },
  ],
};

class Letters {
  name = "letters";

  async generate(texts) {
    return texts.map((text) => [..."abc"].map((letter) => text.split(letter).length - 1));
  }
}

function unique(what) {
  return `${what}-${randomUUID()}`;
}

async function withCollection(use, others = {}) {
  const name = unique("test");
  const collection = await client.createCollection({ name, embeddingFunction: null, ...others });
  try {
    await use(collection);
  } finally {
    await client.deleteCollection({ name });
  }
}

async function rejects(promise, name, words) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.name, name, error.message);
    assert.ok(error.message.includes(words), `expected "${words}" in "${error.message}"`);
    return true;
  });
}

async function theServerDescribesItself() {
  assert.ok((await client.heartbeat()) > 1e18, "the time in nanoseconds");
  assert.ok(await client.version());
  assert.ok((await client.getMaxBatchSize()) > 0);
  assert.equal(await client.supportsBase64Encoding(), true);
  const identity = await client.getUserIdentity();
  assert.equal(identity.tenant, "default_tenant");
  assert.ok(identity.databases.length > 0);
}

async function tenantsAndDatabases() {
  const admin = new AdminClient(server);
  const tenant = unique("tenant");
  const name = unique("database");
  await admin.createTenant({ name: tenant });
  assert.equal(await admin.getTenant({ name: tenant }), tenant);
  await rejects(admin.createTenant({ name: tenant }), "ChromaUniqueError", "already exists");
  await rejects(admin.getTenant({ name: unique("nobody") }), "ChromaNotFoundError", "");

  await admin.createDatabase({ name, tenant });
  await rejects(admin.createDatabase({ name, tenant }), "ChromaUniqueError", "already exists");
  const found = await admin.getDatabase({ name, tenant });
  assert.deepEqual([found.name, found.tenant], [name, tenant]);
  const listed = await admin.listDatabases({ tenant });
  assert.deepEqual(
    listed.map((database) => database.name),
    [name],
  );
  const there = new ChromaClient({ ...server, tenant, database: name });
  await there.createCollection({ name: "papers", embeddingFunction: null });
  assert.equal(await there.countCollections(), 1);
  await admin.deleteDatabase({ name, tenant });
  await rejects(admin.getDatabase({ name, tenant }), "ChromaNotFoundError", "");
}

async function collectionsAreMadeAndFound() {
  const before = await client.countCollections();
  const name = unique("test");
  const metadata = { topic: "ai", n: 1, x: 0.5, done: false };
  const made = await client.createCollection({ name, metadata, embeddingFunction: null });
  assert.deepEqual([made.name, made.metadata], [name, metadata]);
  assert.deepEqual([made.tenant, made.database], ["default_tenant", "default_database"]);
  assert.equal(made.configuration.hnsw.space, "l2");
  assert.equal(await client.countCollections(), before + 1);

  for (const found of [
    await client.getCollection({ name }),
    await client.getCollectionById(made.id),
    await client.getOrCreateCollection({ name, metadata: { k: 1 }, embeddingFunction: null }),
    (await client.listCollections()).find((collection) => collection.name === name),
  ]) {
    assert.deepEqual([found.id, found.metadata], [made.id, metadata]);
  }
  assert.equal((await client.listCollections({ limit: 1 })).length, 1);
  assert.equal((await client.listCollections({ offset: before + 1 })).length, 0);
  assert.equal(await client.collection(made.id).count(), 0, "a handle needs no request");
  await client.deleteCollection({ name });
  assert.equal(await client.countCollections(), before);
}

async function collectionsAreModified() {
  const made = await client.createCollection({ name: unique("test"), embeddingFunction: null });
  const name = unique("new");
  await made.modify({ name, metadata: { k: "v" } });
  assert.deepEqual([made.name, made.metadata], [name, { k: "v" }]);
  await made.modify({ configuration: { hnsw: { ef_search: 77 } } });
  const found = await client.getCollection({ name });
  assert.deepEqual([found.id, found.metadata], [made.id, { k: "v" }]);
  assert.equal(found.configuration.hnsw.ef_search, 77);
  await client.deleteCollection({ name });
}

async function collectionsAreRefused() {
  const name = unique("missing");
  await rejects(client.getCollection({ name }), "ChromaNotFoundError", "could not be found");
  await rejects(client.deleteCollection({ name }), "ChromaNotFoundError", "could not be found");
  const bad = { name: "no spaces", embeddingFunction: null };
  await rejects(client.createCollection(bad), "ChromaClientError", "Bad request to");
  await withCollection(async (collection) => {
    const again = { name: collection.name, embeddingFunction: null };
    await rejects(client.createCollection(again), "ChromaUniqueError", "already exists");
  });
}

async function recordsAreRead() {
  await withCollection(async (collection) => {
    await collection.add(planets);
    assert.equal(await collection.count(), 3);
    const all = await collection.get();
    assert.deepEqual(all.ids, planets.ids);
    assert.deepEqual(all.documents, planets.documents);
    assert.deepEqual(all.metadatas, planets.metadatas);
    assert.deepEqual(all.embeddings, [], "not asked for");
    const include = ["embeddings", "documents"];
    const some = await collection.get({ ids: ["earth", "mars", "nope"], include });
    assert.deepEqual(some.ids, ["mars", "earth"]);
    assert.deepEqual(some.embeddings, [planets.embeddings[0], planets.embeddings[2]]);
    assert.deepEqual(some.metadatas, []);
    assert.deepEqual(
      some.rows().map((row) => row.document),
      ["a red planet", "a blue one 🌍"],
    );
    assert.deepEqual((await collection.get({ limit: 1, offset: 1 })).ids, ["venus"]);
    assert.deepEqual((await collection.peek({ limit: 2 })).ids, ["mars", "venus"]);
  });
}

async function embeddingsKeepTheirDigits() {
  await withCollection(async (collection) => {
    await collection.add({ ids: ["a"], embeddings: [[0.1, -2.5, 3e38]] });
    const stored = await collection.get({ include: ["embeddings"] });
    assert.deepEqual(stored.embeddings, [[0.1, -2.5, 3e38]], "float32 in as few digits as it has");
    assert.deepEqual((await collection.get()).metadatas, [null]);
    assert.deepEqual((await collection.get()).documents, [null]);
  });
}

async function queriesFindTheNearest() {
  await withCollection(async (collection) => {
    await collection.add(planets);
    const queryEmbeddings = [
      [2, 0],
      [0, 1],
    ];
    const found = await collection.query({ queryEmbeddings, nResults: 2 });
    assert.deepEqual(found.ids[0], ["mars", "venus"]);
    assert.equal(found.ids[1][0], "venus");
    assert.deepEqual(found.distances[0], [1, 5]);
    assert.deepEqual(found.documents[0], ["a red planet", "a hot planet"]);
    assert.deepEqual(found.metadatas[1][0], planets.metadatas[1]);
    assert.equal(found.rows()[0][1].distance, 5);
    const few = { queryEmbeddings: [[2, 0]], ids: ["venus", "earth"], where: { n: { $gt: 2 } } };
    assert.deepEqual((await collection.query(few)).ids, [["earth"]]);
    const bare = await collection.query({ queryEmbeddings: [[2, 0]], include: ["embeddings"] });
    assert.deepEqual(bare.embeddings[0][0], [1, 0]);
    assert.deepEqual(bare.distances, []);
  });
  const configuration = { hnsw: { space: "cosine" } };
  await withCollection(
    async (collection) => {
      await collection.add({
        ids: ["same", "other"],
        embeddings: [
          [4, 0],
          [0, 1],
        ],
      });
      const found = await collection.query({ queryEmbeddings: [[1, 0]] });
      assert.deepEqual(found.ids, [["same", "other"]]);
      assert.ok(Math.abs(found.distances[0][0]) < 1e-6);
      assert.ok(Math.abs(found.distances[0][1] - 1) < 1e-6);
    },
    { configuration },
  );
}

async function filters() {
  await withCollection(async (collection) => {
    await collection.add(planets);
    for (const [where, expected] of [
      [{ n: 4 }, ["mars"]],
      [{ n: { $gte: 3 } }, ["mars", "earth"]],
      [{ n: { $lt: 3 } }, ["venus"]],
      [{ moons: { $ne: 2 } }, ["venus", "earth"]],
      [{ mass: { $gt: 0.5 } }, ["venus"]],
      [{ n: { $in: [2, 3] } }, ["venus", "earth"]],
      [{ n: { $nin: [2, 3] } }, ["mars"]],
      [{ life: true }, ["earth"]],
      [{ $and: [{ life: false }, { n: { $gt: 2 } }] }, ["mars"]],
      [{ $or: [{ life: true }, { n: 2 }] }, ["venus", "earth"]],
    ]) {
      assert.deepEqual((await collection.get({ where })).ids, expected, JSON.stringify(where));
    }
    for (const [whereDocument, expected] of [
      [{ $contains: "planet" }, ["mars", "venus"]],
      [{ $not_contains: "planet" }, ["earth"]],
      [{ $regex: "^a (red|blue)" }, ["mars", "earth"]],
      [{ $and: [{ $contains: "planet" }, { $contains: "hot" }] }, ["venus"]],
    ]) {
      const found = await collection.get({ whereDocument });
      assert.deepEqual(found.ids, expected, JSON.stringify(whereDocument));
    }
    // What the client's own checks let through is for the server to refuse.
    for (const where of [{ n: { $eq: [1] } }, { n: NaN }, { $nothing: 1 }]) {
      await rejects(collection.get({ where }), "ChromaClientError", "Invalid where clause");
    }
    const bogus = collection.get({ where: { n: { $bogus: 1 } } });
    await rejects(bogus, "ChromaValueError", "Expected operator to be one of");
    const regex = collection.get({ whereDocument: { $regex: "[" } });
    await rejects(regex, "ChromaClientError", "unclosed character class");
  });
}

async function updatesAndUpsertsMergeMetadata() {
  await withCollection(async (collection) => {
    await collection.add(planets);
    await collection.update({ ids: ["mars"], metadatas: [{ n: 40, rover: "yes" }] });
    const mars = (await collection.get({ ids: ["mars"] })).rows()[0];
    assert.deepEqual(mars.metadata, { n: 40, moons: 2, mass: 0.107, life: false, rover: "yes" });
    assert.equal(mars.document, "a red planet");
    await collection.update({ ids: ["venus"], documents: ["cloudy"], embeddings: [[0, 2]] });
    await collection.upsert({
      ids: ["earth", "pluto"],
      embeddings: [
        [-2, 0],
        [9, 9],
      ],
      documents: ["home", "not a planet"],
      metadatas: [{ n: 30 }, { n: 9 }],
    });
    const include = ["documents", "metadatas", "embeddings"];
    const all = await collection.get({ include });
    assert.deepEqual(all.ids, ["mars", "venus", "earth", "pluto"]);
    assert.deepEqual(all.documents.slice(1), ["cloudy", "home", "not a planet"]);
    assert.deepEqual(all.embeddings.slice(1), [
      [0, 2],
      [-2, 0],
      [9, 9],
    ]);
    assert.deepEqual(all.metadatas.slice(2), [{ n: 30, moons: 1, life: true }, { n: 9 }]);
  });
}

async function recordsAreDeleted() {
  await withCollection(async (collection) => {
    await collection.add(planets);
    assert.deepEqual(await collection.delete({ ids: ["mars"] }), { deleted: 1 });
    assert.deepEqual(await collection.delete({ where: { n: 2 } }), { deleted: 1 });
    const whereDocument = { $contains: "🌍" };
    assert.deepEqual(await collection.delete({ whereDocument }), { deleted: 1 });
    assert.equal(await collection.count(), 0);
  });
}

async function recordsAreRefused() {
  await withCollection(async (collection) => {
    await collection.add(planets);
    const words = "Collection expecting embedding with dimension of 2, got 3";
    const wide = { ids: ["x"], embeddings: [[1, 2, 3]] };
    await rejects(collection.add(wide), "ChromaClientError", words);
    const query = collection.query({ queryEmbeddings: [[1, 2, 3]] });
    await rejects(query, "ChromaClientError", words);
    const most = await client.getMaxBatchSize();
    const ids = Array.from({ length: most + 1 }, (_, n) => String(n));
    const many = collection.add({ ids, embeddings: ids.map(() => [0, 0]) });
    await rejects(many, "ChromaValueError", "exceeds max batch size");
    const twice = collection.add({ ids: ["x", "x"], embeddings: planets.embeddings.slice(1) });
    await rejects(twice, "ChromaValueError", "found duplicates");
    assert.equal(await collection.count(), 3);
  });
  const gone = await client.createCollection({ name: unique("test"), embeddingFunction: null });
  await client.deleteCollection({ name: gone.name });
  await rejects(gone.count(), "ChromaNotFoundError", "could not be found");
}

async function textsAreEmbeddedByTheClient() {
  const embeddingFunction = new Letters();
  await withCollection(
    async (collection) => {
      await collection.add({ ids: ["a", "b"], documents: ["aaa", "bbb"] });
      const again = await client.getCollection({ name: collection.name, embeddingFunction });
      const found = await again.query({ queryTexts: ["ab", "bb"], nResults: 1 });
      assert.deepEqual(found.distances, [[5], [1]]);
      assert.equal(found.ids[1][0], "b");
    },
    { embeddingFunction },
  );
}

async function listsInMetadata() {
  await withCollection(async (collection) => {
    const metadatas = [{ tags: ["b", "a", "b"], sizes: [1, 2.5], flags: [true, false] }, { n: 1 }];
    await collection.add({ ids: ["a", "b"], embeddings: planets.embeddings.slice(1), metadatas });
    assert.deepEqual((await collection.get()).metadatas, metadatas);
    assert.deepEqual((await collection.get({ where: { tags: { $contains: "a" } } })).ids, ["a"]);
    // Or Chroma would show these lists in the collections that come after.
    await collection.delete({ ids: ["a", "b"] });
  });
}

await theServerDescribesItself();
await tenantsAndDatabases();
await collectionsAreMadeAndFound();
await collectionsAreModified();
await collectionsAreRefused();
await recordsAreRead();
await embeddingsKeepTheirDigits();
await queriesFindTheNearest();
await filters();
await updatesAndUpsertsMergeMetadata();
await recordsAreDeleted();
await recordsAreRefused();
await textsAreEmbeddedByTheClient();
await listsInMetadata();
