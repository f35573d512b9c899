"""Processes: what they used, what others used, and how they fail."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import turn
from errors import Failure


class Take(unittest.TestCase):
    def test_output_time_and_memory_are_the_childs(self):
        work = "x = bytearray(200 << 20); print(sum(i for i in range(3_000_000)))"
        taken = turn.take([sys.executable, "-c", work])
        self.assertEqual(taken.stdout, "4499998500000\n")
        self.assertGreater(taken.peak_rss_bytes, 200 << 20)
        self.assertLess(taken.peak_rss_bytes, 400 << 20)
        self.assertGreater(taken.cpu_seconds, 0.02)
        self.assertGreaterEqual(taken.seconds, taken.cpu_seconds * 0.5)

    def test_a_failure_gives_the_last_line_it_wrote(self):
        with self.assertRaisesRegex(Failure, "exit code 3: no such model"):
            turn.take(["sh", "-c", "echo chat; echo no such model >&2; exit 3"])

    def test_a_failure_gives_the_line_that_speaks_of_an_error(self):
        with self.assertRaisesRegex(Failure, "exit code 2: error: no verb$"):
            turn.take(["sh", "-c", "echo 'error: no verb' >&2; echo 'try --help' >&2; exit 2"])

    def test_a_crash_gives_the_signal(self):
        with self.assertRaisesRegex(Failure, "signal 4"):
            turn.take(["sh", "-c", "kill -ILL $$"])

    def test_a_hang_is_ended(self):
        with self.assertRaisesRegex(Failure, "stopped after 0.2 s"):
            turn.take(["sleep", "60"], timeout=0.2)

    def test_a_program_that_is_not_there_is_named(self):
        with self.assertRaisesRegex(Failure, "/no/such does not start: No such file"):
            turn.take(["/no/such"])

    def test_the_environment_reaches_the_child(self):
        self.assertEqual(turn.take(["sh", "-c", "echo $WORD"], {"WORD": "here"}).stdout, "here\n")


class Disturbance(unittest.TestCase):
    @staticmethod
    def turn(foreign, seconds=10.0):
        return turn.Turn("", seconds, 2 * seconds, foreign, 0)

    def test_a_quiet_turn_is_kept(self):
        self.assertFalse(self.turn(0.1).disturbed(0.05))

    def test_a_neighbour_disturbs(self):
        self.assertTrue(self.turn(2.0).disturbed(0.05))
        self.assertFalse(self.turn(2.0).disturbed(0.25))

    def test_a_short_turn_is_not_judged_by_the_coarse_clock(self):
        self.assertFalse(self.turn(2 * turn.TICK, seconds=0.1).disturbed(0.05))

    def test_idling_and_waiting_are_not_busy_but_stolen_time_is(self):
        ticks = turn.parse_busy("cpu  1 2 4 1000 2000 8 16 32 0 0") / turn.TICK
        self.assertAlmostEqual(ticks, 63)

    def test_another_first_line_is_refused(self):
        with self.assertRaises(Failure):
            turn.parse_busy("intr 1 2 3")


if __name__ == "__main__":
    unittest.main()
