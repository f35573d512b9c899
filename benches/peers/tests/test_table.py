"""Records and the tables made of them."""

import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import record
import table
from errors import Failure, Usage

ROW = record.Row(
    time="2026-01-02T03:04:05Z", cpu="C", processors=2, kernel="6", governor="g", model="m.gguf", model_bytes=100_000_000,
    model_sha256="1", benchmark="tg128", engine="stonechat", engine_version="", program_sha256="2", threads=2, round=1,
    status="kept", value=30.0, unit="t/s", peak_rss_bytes=110_000_000, wall_s=1.0, cpu_s=2.0, foreign_cpu_s=0.0,
    answer="Paris", command="x",
)  # fmt: skip
PEER = replace(ROW, engine="peer", program_sha256="3", value=20.0, peak_rss_bytes=250_000_000)


class Records(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_what_is_written_is_read_back(self):
        rows = [ROW, replace(PEER, answer='a "quoted", text\nof two lines')]
        for row in rows:
            record.append(self.folder / "r.csv", row)
        self.assertEqual(record.read(self.folder / "r.csv"), rows)

    def test_what_is_no_record_is_refused(self):
        path = self.folder / "r.csv"
        for text in ("", "a,b\n1,2\n"):
            path.write_text(text)
            with self.assertRaisesRegex(Usage, "is no record"):
                record.read(path)
        path.write_bytes(b"\xff\xfe")
        with self.assertRaisesRegex(Usage, "it is not text"):
            record.read(path)
        with self.assertRaisesRegex(Usage, "cannot be read"):
            record.read(self.folder / "absent.csv")

    def test_a_broken_line_is_named(self):
        path = self.folder / "r.csv"
        record.append(path, ROW)
        path.write_text(path.read_text().replace("30.0", "fast"))
        with self.assertRaisesRegex(Usage, "line 2"):
            record.read(path)
        path.write_text(path.read_text() + "1,2\n")

    def test_a_model_that_is_none_is_refused(self):
        with self.assertRaisesRegex(Usage, "cannot be read"):
            record.model(self.folder / "absent.gguf")
        (self.folder / "m.gguf").write_text("no")
        with self.assertRaisesRegex(Usage, "not a GGUF file"):
            record.model(self.folder / "m.gguf")

    def test_a_marked_table_follows_its_record(self):
        record.append(self.folder / "r.csv", ROW)
        document = self.folder / "README.md"
        marked = "before\n<!-- table of r.csv -->\nold\n<!-- end of table -->\nafter\n"
        document.write_text(marked)
        with mock.patch.object(table, "ROOT", self.folder):
            with self.assertRaisesRegex(Failure, "out of step"):
                table.update(document, check=True)
            self.assertEqual(document.read_text(), marked)
            table.update(document, check=False)
            table.update(document, check=True)
            self.assertRegex(document.read_text(), r"(?s)^before\n<!--.*\| stonechat \| 30.0 \|.*-->\nafter\n$")
            record.append(self.folder / "r.csv", replace(ROW, value=60.0))
            with self.assertRaisesRegex(Failure, "out of step"):
                table.update(document, check=True)


class Tables(unittest.TestCase):
    def test_ratios_are_of_medians(self):
        rows = [replace(ROW, value=v) for v in (30.0, 31.0, 99.0)] + [replace(PEER, value=v) for v in (1.0, 20.0, 21.0)]
        self.assertAlmostEqual(table.Table(rows).ratio("stonechat", "m.gguf", "tg128", "peer"), 31.0 / 20.0)

    def test_less_time_is_better(self):
        rows = [replace(row, benchmark="first-token", unit="s") for row in (ROW, PEER)]
        self.assertAlmostEqual(table.Table(rows).ratio("stonechat", "m.gguf", "first-token", "peer"), 20.0 / 30.0)

    def test_a_disturbed_turn_does_not_count(self):
        rows = [ROW, replace(ROW, value=1.0, status="disturbed")]
        self.assertEqual(table.Table(rows).median(engine="stonechat"), 30.0)
        with self.assertRaisesRegex(Failure, "no turn that counts"):
            table.Table(rows[1:])

    def test_what_cannot_be_compared_is_refused(self):
        for what, other in {
            "machines": replace(ROW, cpu="D"),
            "thread counts": replace(ROW, threads=4),
            "files": replace(ROW, model_sha256="9"),
            "builds": replace(ROW, program_sha256="9"),
        }.items():
            with self.assertRaisesRegex(Failure, f"mixes {what}"):
                table.Table([ROW, other])

    def test_the_table_shows_medians_ratios_memory_and_command(self):
        text = table.Table([ROW, PEER]).markdown("r.csv")
        self.assertIn("| stonechat | 30.0 | 110 |", text)
        self.assertIn("| peer | 20.0 (1.50x) | 250 |", text)
        self.assertIn("python3 benches/peers run -t 2 -e stonechat,peer -b tg128 m.gguf", text)


    def test_one_table_of_all_models_has_a_row_for_each(self):
        other = {"model": "n.gguf", "model_sha256": "4"}
        rows = [ROW, PEER, replace(PEER, **other, value=10.0), replace(ROW, **other, value=5.0), replace(ROW, benchmark="pp512")]
        made = table.Table(rows).by_model("r.csv")
        self.assertIn("| model | tg128 stonechat, t/s | tg128 peer, t/s | pp512 stonechat, t/s |\n", made)
        self.assertIn("| m.gguf | 30.0 | 20.0 (1.50x) | 30.0 |\n", made)
        self.assertIn("| n.gguf | 5.00 | 10.0 (0.50x) |  |\n", made)

    def test_servers_are_measured_by_another_command(self):
        rows = [replace(ROW, benchmark="serve-8-clients-4-slots")]
        self.assertIn("python3 benches/serving.py --threads 2 --clients 8 --slots 4 m.gguf\n", table.Table(rows).markdown("r.csv"))


if __name__ == "__main__":
    unittest.main()
