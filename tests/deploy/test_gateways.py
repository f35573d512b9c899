"""deploy/kubernetes/gateway/litellm.yaml, as LiteLLM reads it, with the server's address in place of the service's."""

import os
import pathlib
import tempfile
import threading
import unittest
import unittest.mock

# Nothing is fetched: what models cost elsewhere is nobody's matter here.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import yaml

from common import DEPLOY, Server

KEY = "a-key-of-the-test-00"
FRANCE = [{"role": "user", "content": "Name the capital of France."}]


class LiteLLM(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        litellm.telemetry = False
        keys = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory())) / "keys.txt"
        keys.write_text(KEY)
        # So small that it is full while the second of two asks.
        size = ["--parallel", "1", "--queue", "0", "-c", "512"]
        cls.server = Server(["-m", "smollm2-135m", "--port", "0", "--api-key-file", str(keys), *size])
        cls.addClassCleanup(cls.server.end)
        made = yaml.safe_load((DEPLOY / "kubernetes/gateway/litellm.yaml").read_text())
        for model in made["model_list"]:
            service, path = model["litellm_params"]["api_base"].rsplit("/", 1)
            model["litellm_params"]["api_base"] = f"{cls.server.url}/{path}"
            assert service.startswith("http://stonechat.")
        # From here on: the program reads this variable, too.
        cls.enterClassContext(unittest.mock.patch.dict(os.environ, {"STONECHAT_API_KEY": KEY}))
        cls.router = litellm.Router(model_list=made["model_list"], **made["router_settings"])

    def ask(self, **more):
        return self.router.completion(model="smollm2-135m", messages=FRANCE, max_tokens=20, temperature=0, **more)

    def test_an_answer_and_a_stream(self):
        self.assertIn("Paris", self.ask().choices[0].message.content)
        parts = list(self.ask(stream=True))
        self.assertGreater(len(parts), 2)
        self.assertIn("Paris", "".join(part.choices[0].delta.content or "" for part in parts))

    def test_who_finds_it_full_is_asked_again(self):
        said = []
        threads = [threading.Thread(target=lambda: said.append(self.ask().choices[0].message.content)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(["Paris" in answer for answer in said], [True] * 3)
        key = {"Authorization": f"Bearer {KEY}"}
        self.assertGreater(self.server.metric("stonechat_refused_total", key), 0, "it was full")


if __name__ == "__main__":
    unittest.main()
