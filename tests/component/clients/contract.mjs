// One call of Ollama's client for JavaScript: `node contract.mjs CALL` prints what came back, in JSON.
//
// HOST and TOKEN say where the gate is, MODULES where the client was installed.
import { createRequire } from 'node:module'

const { Ollama } = createRequire(`${process.env.MODULES}/`)('ollama')
const headers = process.env.TOKEN ? { Authorization: `Bearer ${process.env.TOKEN}` } : {}
const client = new Ollama({ host: process.env.HOST, headers })
const model = 'tiny'
const messages = [{ role: 'user', content: 'What is the capital of France?' }]

const calls = {
  list: async () => (await client.list()).models.map((listed) => listed.model),
  show: async () => (await client.show({ model })).details.family,
  version: async () => (await client.version()).version,
  generate: async () => (await client.generate({ model, prompt: messages[0].content })).response,
  embed: async () => (await client.embed({ model, input: ['one', 'two'] })).embeddings.length,
  chat: async () => {
    const parts = []
    for await (const part of await client.chat({ model, messages, stream: true })) parts.push(part)
    return { text: parts.map((part) => part.message.content).join(''), done: parts.map((part) => part.done) }
  },
  abort: async () => {
    const endless = { num_predict: 100000 }
    const stream = await client.generate({ model, prompt: 'Never stop.', stream: true, options: endless })
    let parts = 0
    try {
      for await (const part of stream) if (part.response && ++parts === 3) stream.abort()
    } catch (error) {
      return { name: error.name }
    }
    return { name: 'it went on to its end' }
  },
}

try {
  console.log(JSON.stringify(await calls[process.argv[2]]()))
} catch (error) {
  console.log(JSON.stringify({ name: error.name, status: error.status_code, error: error.error }))
}
