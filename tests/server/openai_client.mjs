// OpenAI's client for JavaScript against a server: node openai_client.mjs CLIENT_DIRECTORY URL
import { pathToFileURL } from "node:url";

const [, , directory, baseURL] = process.argv;
const { default: OpenAI } = await import(pathToFileURL(`${directory}/index.mjs`));
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const asked = {
  model: "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
  messages: [{ role: "user", content: "Hello" }],
  max_tokens: 12,
  seed: 1,
};

const whole = await client.chat.completions.create(asked);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  streamed += chunk.choices[0].delta.content ?? "";
}
const tool = { type: "function", function: { name: "ping", parameters: { type: "object", properties: {}, additionalProperties: false } } };
const called = await client.chat.completions.create({ ...asked, max_tokens: 40, tools: [tool], tool_choice: "required", parallel_tool_calls: false });
let refused = null;
try {
  await client.chat.completions.create({ ...asked, temperature: 9 });
} catch (error) {
  refused = { status: error.status, param: error.param };
}
const models = (await client.models.list()).data.map((model) => model.id);
console.log(JSON.stringify({ whole: whole.choices[0].message.content, streamed, call: called.choices[0].message.tool_calls[0].function, refused, models }));
