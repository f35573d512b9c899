"""The TOML files, and what is said of those that are wrong."""

import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import config
from errors import Usage


class Config(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def engine(self, text, name="e"):
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        return config._folder(self.folder, config._engine)[name]

    def test_every_file_of_the_repository_reads(self):
        self.assertIn("stonechat", config.engines())
        self.assertIn("pp512", config.benchmarks())
        self.assertTrue(config.answers())

    def test_a_quoted_placeholder_stays_one_argument(self):
        engine = self.engine('name="e"\ntitle="E"\nfolder="x"\nbench="{bin}/b"\nanswer="{bin}/a -p \'{prompt}\'"')
        command = engine.command(engine.answer, prompt="two words; $HOME")
        self.assertEqual(command[1:], ["-p", "two words; $HOME"])

    def test_an_unknown_placeholder_is_named(self):
        with self.assertRaisesRegex(Usage, r"bench has \{modle\}"):
            self.engine('name="e"\ntitle="E"\nbench="{bin}/b {modle}"\nanswer="{bin}/a"')

    def test_an_unknown_key_is_named(self):
        with self.assertRaisesRegex(Usage, "unknown key 'treads'"):
            self.engine('name="e"\ntitle="E"\nbench="b"\nanswer="a"\ntreads=2')

    def test_a_missing_key_is_named(self):
        with self.assertRaisesRegex(Usage, "title"):
            self.engine('name="e"\nbench="b"\nanswer="a"')
        with self.assertRaisesRegex(Usage, "answer is missing"):
            self.engine('name="e"\ntitle="E"\nbench="b"')

    def test_a_name_that_differs_from_its_file_is_refused(self):
        with self.assertRaisesRegex(Usage, "must agree"):
            self.engine('name="f"\ntitle="E"\nbench="b"\nanswer="a"')

    def test_what_is_not_toml_is_named(self):
        with self.assertRaisesRegex(Usage, "is not TOML"):
            self.engine("name = ")

    def test_a_benchmark_of_both_kinds_is_refused(self):
        (self.folder / "b.toml").write_text('name="b"\ntitle="B"\nn_prompt=1\nn_gen=1')
        with self.assertRaisesRegex(Usage, "exactly one"):
            config._folder(self.folder, config._benchmark)

    def test_a_missing_program_says_how_to_get_it(self):
        engine = self.engine('name="e"\ntitle="E"\nfolder="nowhere"\nget="make it"\nbench="{bin}/b"\nanswer="{bin}/a"')
        self.assertRegex(engine.missing(), "no program .*nowhere/b: make it")

    def test_an_engine_without_a_folder_names_its_variable(self):
        engine = self.engine('name="e"\ntitle="E"\nfolder_variable="E_BIN"\nbench="{bin}/b"\nanswer="{bin}/a"')
        with mock.patch.dict(os.environ):
            os.environ.pop("E_BIN", None)
            self.assertRegex(engine.missing(), "needs E_BIN")

    def test_a_variable_names_another_folder(self):
        engine = self.engine('name="e"\ntitle="E"\nfolder="x"\nfolder_variable="E_BIN"\nbench="{bin}/b"\nanswer="a"')
        with mock.patch.dict(os.environ, {"E_BIN": str(self.folder)}):
            self.assertEqual(engine.bin(), self.folder.resolve())

    def test_an_unknown_name_lists_those_that_are_known(self):
        with self.assertRaisesRegex(Usage, "no engine 'x'; there are a, b"):
            config.choose("engine", {"a": 1, "b": 2}, ["x"])


if __name__ == "__main__":
    unittest.main()
