"""Whole runs against engines that are shell scripts: order, resumption, refusal."""

import json
import os
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import record
import rounds
import turn
from config import Answer, Benchmark, Engine
from errors import Failure

FAKE = """#!/bin/sh
if [ "$1" = answer ]; then printf "%s" "{text}"; exit; fi
echo '[{json}]'
"""


class Rounds(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.model = self.folder / "m.gguf"
        self.model.write_bytes(b"GGUF and more")
        self.said = []
        # Whether the machine that runs this test is busy is not what is tested.
        quiet = mock.patch.object(turn, "busy_seconds", return_value=0.0)
        quiet.start()
        self.addCleanup(quiet.stop)

    def engine(self, name, text="Paris", speed=10.0, **more):
        answer = {
            "model_filename": str(self.model), "n_threads": 2, "n_prompt": 8, "n_gen": 0, "samples_ts": [speed],
        }
        program = self.folder / name / "fake"
        program.parent.mkdir(exist_ok=True)
        program.write_text(FAKE.replace("{text}", text).replace("{json}", json.dumps(answer)))
        program.chmod(0o755)
        return Engine(
            name=name, title=name, folder=str(program.parent), bench=("{bin}/fake", "bench"),
            answer=("{bin}/fake", "answer"), **more,
        )

    def run_(self, engines, **more):
        benchmark = Benchmark(name="pp8", title="", n_prompt=8, rounds=2)
        given = dict(benchmarks=[benchmark], threads=2, answers=[Answer("p", 1, "Paris", ("m*",))])
        return rounds.Run(
            engines=engines, models=[self.model], path=self.folder / "r.csv", say=self.said.append, **(given | more)
        )

    def rows(self):
        return record.read(self.folder / "r.csv")

    def test_engines_take_turns(self):
        self.assertTrue(self.run_([self.engine("a"), self.engine("b", speed=5.0)]).measure())
        seen = [(row.round, row.engine, row.value) for row in self.rows()]
        self.assertEqual(seen, [(1, "a", 10.0), (1, "b", 5.0), (2, "a", 10.0), (2, "b", 5.0)])
        self.assertEqual({row.answer for row in self.rows()}, {"Paris"})

    def test_a_folder_that_a_variable_names_is_recorded_by_that_name(self):
        with mock.patch.dict(os.environ, {"A_BIN": str(self.folder / "a")}):
            self.run_([self.engine("a", folder_variable="A_BIN")]).measure()
        self.assertEqual({row.command for row in self.rows()}, {'"$A_BIN"/fake bench'})

    def test_what_is_recorded_is_not_measured_again(self):
        engines = [self.engine("a"), self.engine("b")]
        self.assertFalse(self.run_(engines, seconds=-1).measure())
        self.assertRegex(self.said[-1], "4 turns are left")
        self.run_(engines, rounds=1).measure()
        self.run_(engines).measure()
        self.run_(engines).measure()
        self.assertEqual([row.round for row in self.rows()], [1, 1, 2, 2])

    def test_another_build_is_measured_anew(self):
        self.run_([self.engine("a")]).measure()
        self.run_([self.engine("a", speed=20.0)]).measure()
        self.assertEqual([row.round for row in self.rows()], [1, 2, 1, 2])

    def test_a_wrong_answer_has_no_speed(self):
        with self.assertRaisesRegex(Failure, "engine b went on 'Lyon' .* its time does not count"):
            self.run_([self.engine("a"), self.engine("b", text="Lyon")]).measure()
        self.assertEqual([row.engine for row in self.rows()], ["a", "a"])

    def test_without_a_known_answer_engines_must_agree(self):
        with self.assertRaisesRegex(Failure, "where engine a has 'Rome'"):
            self.run_([self.engine("a", text="Rome"), self.engine("b")], answers=[]).measure()

    def test_a_disturbed_turn_is_repeated_and_kept_in_the_record(self):
        take, taken = turn.take, []

        def disturbed_once(*arguments):
            got = take(*arguments)
            taken.append(got)
            return replace(got, foreign_seconds=9.0) if len(taken) == 2 else got

        with mock.patch.object(turn, "take", disturbed_once):
            self.run_([self.engine("a")]).measure()
        self.assertEqual([(r.round, r.status) for r in self.rows()], [(1, "disturbed"), (1, "kept"), (2, "kept")])

    def test_a_machine_that_stays_busy_ends_the_run(self):
        take = turn.take
        busy = mock.patch.object(turn, "take", lambda *a: replace(take(*a), foreign_seconds=9.0))
        with busy, self.assertRaisesRegex(Failure, "stop what else runs"):
            self.run_([self.engine("a")]).measure()

    def test_an_engine_without_the_flag_is_left_out_and_named(self):
        deep = Benchmark(name="d", title="", n_prompt=8, depth=64, rounds=1)
        self.run_([self.engine("a")], benchmarks=[deep]).measure()
        self.assertEqual(self.said, ["engine a has no flag for a depth: left out of d"])

    def test_first_token_is_the_time_of_the_process(self):
        first = Benchmark(name="first-token", title="", kind="first-token", rounds=1)
        self.run_([self.engine("a")], benchmarks=[first]).measure()
        (row,) = self.rows()
        self.assertEqual((row.unit, row.value > 0), ("s", True))

    def test_a_prepared_file_is_made_once_and_run(self):
        with mock.patch.object(rounds, "TARGET", self.folder):
            engine = self.engine("a", prepare=("cp", "{model}", "{prepared}"))
            self.run_([engine]).measure()
            self.run_([engine], rounds=3).measure()
        self.assertEqual(len(list(self.folder.glob("peers/prepared/*/m.gguf"))), 1)


if __name__ == "__main__":
    unittest.main()
