// Asks a server with the npm package openai, and prints what it found as JSON.
// Usage: node client.mjs PACKAGE URL KEY PROMPT
import { createRequire } from "node:module";

const [place, url, apiKey, prompt] = process.argv.slice(2);
const OpenAI = createRequire(place)("openai").default;
const client = new OpenAI({ apiKey, baseURL: `${url}/v1`, maxRetries: 0 });
const found = {};

found.models = [];
for await (const model of await client.models.list()) found.models.push(model.id);

const completion = await client.completions.create({ model: "tiny", prompt, logprobs: 1, n: 2 });
found.texts = completion.choices.map((choice) => choice.text);
found.tokens = completion.choices[0].logprobs.tokens;
found.usage = completion.usage;

found.streamed = "";
for await (const part of await client.completions.create({ model: "tiny", prompt, stream: true })) {
  found.streamed += part.choices[0].text;
}

const messages = [{ role: "user", content: prompt }];
const runner = client.chat.completions.stream({ model: "tiny", messages, stream_options: { include_usage: true } });
found.chat = await runner.finalContent();
found.chatUsage = await runner.totalUsage();

const format = { type: "json_schema", json_schema: { name: "one", schema: { enum: ["ab", "cd"] } } };
const formatted = await client.chat.completions.create({ model: "tiny", messages, response_format: format });
found.json = JSON.parse(formatted.choices[0].message.content);

const refused = async (ask) => {
  try {
    await ask();
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param };
  }
};
found.unknown = await refused(() => client.models.retrieve("large"));
found.long = await refused(() => client.completions.create({ model: "tiny", prompt: "Return ".repeat(500) }));
found.key = await refused(() => new OpenAI({ apiKey: "wrong", baseURL: `${url}/v1` }).models.list());

const stopped = await client.completions.create({ model: "tiny", prompt, stream: true });
for await (const part of stopped) {
  found.first = part.choices[0].text;
  stopped.controller.abort();
  break;
}

console.log(JSON.stringify(found));
