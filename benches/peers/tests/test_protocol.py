"""What engines answer, right and wrong."""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import protocol
from config import Answer, Benchmark
from errors import Failure

MODEL = Path("/models/m.gguf")
PREFILL = Benchmark(name="pp8", title="", n_prompt=8)
GOOD = {
    "model_filename": "/elsewhere/m.gguf",
    "n_prompt": 8,
    "n_gen": 0,
    "n_threads": 2,
    "samples_ts": [10.0],
    "build_commit": "abc",
}


def speed(changes=(), benchmark=PREFILL, before=""):
    return protocol.speed(before + json.dumps([GOOD | dict(changes)]), "e", benchmark, MODEL, 2)


class Speed(unittest.TestCase):
    def test_a_right_answer_counts(self):
        self.assertEqual(speed(), protocol.Speed(10.0, "abc"))

    def test_what_an_engine_chats_before_the_json_is_skipped(self):
        self.assertEqual(speed(before="loading ...\n").tokens_per_second, 10.0)

    def test_several_repetitions_give_their_median(self):
        three = Benchmark(name="pp8", title="", n_prompt=8, repetitions=3)
        self.assertEqual(speed({"samples_ts": [1.0, 9.0, 2.0]}, three).tokens_per_second, 2.0)

    def test_other_work_than_asked_for_does_not_count(self):
        for key, value in {"n_prompt": 4, "n_gen": 1, "n_threads": 1}.items():
            with self.assertRaisesRegex(Failure, f"{key} = {value}"):
                speed({key: value})

    def test_another_depth_or_kv_cache_does_not_count(self):
        deep = Benchmark(name="d", title="", n_prompt=8, depth=4096, kv="q8_0")
        with self.assertRaisesRegex(Failure, "n_depth = None"):
            speed({"type_k": "q8_0", "type_v": "q8_0"}, deep)
        with self.assertRaisesRegex(Failure, "type_v = f16"):
            speed({"n_depth": 4096, "type_k": "q8_0", "type_v": "f16"}, deep)
        self.assertTrue(speed({"n_depth": 4096, "type_k": "q8_0", "type_v": "q8_0"}, deep))

    def test_another_model_does_not_count(self):
        with self.assertRaisesRegex(Failure, "ran the model n.gguf where m.gguf"):
            speed({"model_filename": "/models/n.gguf"})

    def test_speeds_that_are_none_do_not_count(self):
        for samples in ([], [0.0], [1.0, 2.0], ["fast"], None):
            with self.assertRaises(Failure):
                speed({"samples_ts": samples})

    def test_what_is_no_json_is_quoted(self):
        for text in ("", "Illegal instruction", "[1, 2", "[]", "[3]", "{}"):
            with self.assertRaises(Failure):
                protocol.speed(text, "e", PREFILL, MODEL, 2)


class Continuation(unittest.TestCase):
    ANSWER = Answer(prompt="The capital of France is", tokens=2, text=" Paris.")

    def test_the_known_one_counts_whatever_the_space_around_it(self):
        self.assertEqual(protocol.continuation(" Paris.\n", "e", "m", self.ANSWER), "Paris.")

    def test_another_one_does_not_count(self):
        with self.assertRaisesRegex(Failure, "went on 'Lyon.' .* its time does not count"):
            protocol.continuation(" Lyon.", "e", "m", self.ANSWER)

    def test_nothing_does_not_count(self):
        with self.assertRaisesRegex(Failure, "wrote nothing"):
            protocol.continuation("\n", "e", "m", self.ANSWER)


if __name__ == "__main__":
    unittest.main()
