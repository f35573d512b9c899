"""The clients that people have, against a running server: openai's, ollama's, LangChain's and curl.

scripts/clients.sh starts the server (SmolLM2) and names its address in STONECHAT_SERVER.
"""

import json
import os
import subprocess
import unittest

import httpx
import ollama
import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

SERVER = os.environ["STONECHAT_SERVER"]
MODEL = "smollm2-135m"
EMBEDDING_MODEL = "tiny"
FRANCE = [{"role": "user", "content": "Name the capital of France."}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a town",
        "parameters": {
            "type": "object",
            "properties": {"town": {"type": "string", "enum": ["Paris", "Oslo"]}},
            "required": ["town"],
            "additionalProperties": False,
        },
    },
}


class OpenAI(unittest.TestCase):
    def setUp(self):
        self.client = openai.OpenAI(base_url=f"{SERVER}/v1", api_key="none is asked for", max_retries=0)

    def tearDown(self):
        self.client.close()

    def ask(self, **more):
        return self.client.chat.completions.create(model=MODEL, messages=FRANCE, **{"temperature": 0, "max_tokens": 20, **more})

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], [MODEL, EMBEDDING_MODEL])

    def test_an_answer_and_what_it_took(self):
        answer = self.ask()
        self.assertIn("Paris", answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_a_stream_says_the_same(self):
        whole = self.ask().choices[0].message.content
        chunks = list(self.ask(stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), whole)
        self.assertGreater(chunks[-1].usage.completion_tokens, 0)

    def test_equal_seeds_give_equal_answers(self):
        first, again = (self.ask(temperature=1.0, seed=7).choices[0].message.content for _ in range(2))
        self.assertEqual(first, again)
        several = self.ask(temperature=1.0, seed=7, n=3).choices
        self.assertEqual(len(several), 3)
        self.assertEqual(several[0].message.content, first)

    def test_a_stop_text_is_left_out(self):
        answer = self.ask(stop=[" Paris"]).choices[0]
        self.assertNotIn("Paris", answer.message.content)
        self.assertEqual(answer.finish_reason, "stop")

    def test_log_probabilities(self):
        for token in self.ask(logprobs=True, top_logprobs=3, max_tokens=5).choices[0].logprobs.content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), 3)
            # What is most likely is what greedy decoding takes.
            self.assertEqual(token.top_logprobs[0].token, token.token)

    def test_a_schema_holds_however_short_the_answer_is(self):
        form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
        for seed in range(5):
            answer = self.ask(response_format=form, temperature=1.0, seed=seed, max_tokens=24).choices[0]
            person = json.loads(answer.message.content)
            self.assertEqual(set(person), {"name", "age"})
            self.assertIn(person["age"], range(121))

    def test_a_tool_is_called_whole_and_in_a_stream(self):
        asked = {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 60}
        answer = self.ask(**asked).choices[0]
        self.assertEqual(answer.finish_reason, "tool_calls")
        call = answer.message.tool_calls[0].function
        self.assertEqual(call.name, "get_weather")
        self.assertIn(json.loads(call.arguments)["town"], ["Paris", "Oslo"])
        name, arguments = "", ""
        for chunk in self.ask(stream=True, **asked):
            for delta in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                name += delta.function.name or ""
                arguments += delta.function.arguments or ""
        self.assertEqual((name, json.loads(arguments)), (call.name, json.loads(call.arguments)))

    def test_completions_and_responses(self):
        text = self.client.completions.create(model=MODEL, prompt="The capital of France is", max_tokens=5, temperature=0)
        self.assertIn("Paris", text.choices[0].text)
        answer = self.client.responses.create(model=MODEL, input="Name the capital of France.", max_output_tokens=20, temperature=0)
        self.assertIn("Paris", answer.output_text)

    def test_embeddings_are_the_same_numbers_in_either_encoding(self):
        # The client asks for base64 where nothing is said.
        made = [
            self.client.embeddings.create(model=EMBEDDING_MODEL, input=["a dog", "a cat"], **more).data
            for more in ({}, {"encoding_format": "float"})
        ]
        self.assertEqual([len(one.embedding) for one in made[0]], [96, 96])
        for decoded, written in zip(*made):
            for a, b in zip(decoded.embedding, written.embedding, strict=True):
                self.assertAlmostEqual(a, b, places=6)

    def test_errors_are_openais(self):
        with self.assertRaises(openai.NotFoundError) as unknown:
            self.client.chat.completions.create(model="gpt-9", messages=FRANCE)
        self.assertIn("gpt-9", str(unknown.exception))
        with self.assertRaises(openai.BadRequestError) as long:
            self.client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 9000}])
        self.assertEqual(long.exception.code, "context_length_exceeded")


class Ollama(unittest.TestCase):
    def setUp(self):
        self.client = ollama.Client(host=SERVER)

    def test_chat_generate_and_list(self):
        options = {"temperature": 0, "num_predict": 20}
        whole = self.client.chat(model=MODEL, messages=FRANCE, options=options).message.content
        self.assertIn("Paris", whole)
        parts = self.client.chat(model=MODEL, messages=FRANCE, options=options, stream=True)
        self.assertEqual("".join(part.message.content for part in parts), whole)
        self.assertIn("Paris", self.client.generate(model=MODEL, prompt="Name the capital of France.", options=options).response)
        self.assertIn(MODEL, [model.model.removesuffix(":latest") for model in self.client.list().models])

    def test_embeddings(self):
        answer = self.client.embed(model=EMBEDDING_MODEL, input=["a dog", "a cat"])
        self.assertEqual([len(one) for one in answer.embeddings], [96, 96])

    def test_a_schema_holds(self):
        answer = self.client.chat(model=MODEL, messages=FRANCE, format=PERSON, options={"num_predict": 24})
        self.assertEqual(set(json.loads(answer.message.content)), {"name", "age"})


class LangChain(unittest.TestCase):
    def setUp(self):
        self.model = ChatOpenAI(base_url=f"{SERVER}/v1", api_key="none is asked for", model=MODEL, temperature=0, max_tokens=60)

    def test_an_answer_a_stream_and_a_tool(self):
        whole = self.model.invoke("Name the capital of France.").content
        self.assertIn("Paris", whole)
        self.assertEqual("".join(part.content for part in self.model.stream("Name the capital of France.")), whole)
        call = self.model.bind_tools([WEATHER], tool_choice="get_weather").invoke("Is it raining in Paris?").tool_calls[0]
        self.assertEqual(call["name"], "get_weather")

    def test_embeddings(self):
        # Its own tokenizer is of OpenAI's models: texts are to be sent as they are.
        client = OpenAIEmbeddings(
            model=EMBEDDING_MODEL, base_url=f"{SERVER}/v1", api_key="none is asked for", check_embedding_ctx_length=False
        )
        self.assertEqual(len(client.embed_query("a dog")), 96)

    def test_a_structured_answer(self):
        schema = {"title": "person", "description": "A person", **PERSON}
        person = self.model.with_structured_output(schema, method="json_schema").invoke("Invent a person.")
        self.assertEqual(set(person), {"name", "age"})


class Curl(unittest.TestCase):
    def test_what_the_page_of_the_server_says(self):
        body = json.dumps({"messages": FRANCE, "max_tokens": 20, "temperature": 0})
        said = subprocess.run(["curl", "-sS", "--fail", f"{SERVER}/v1/chat/completions", "-d", body], check=True, capture_output=True)
        self.assertIn("Paris", json.loads(said.stdout)["choices"][0]["message"]["content"])

    def test_health_and_metrics(self):
        self.assertEqual(httpx.get(f"{SERVER}/health").json(), {"status": "ok"})
        self.assertIn("stonechat_requests_total", httpx.get(f"{SERVER}/metrics").text)


if __name__ == "__main__":
    unittest.main()
