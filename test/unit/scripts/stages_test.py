"""What the runner of scripts/test must never get wrong: a failure that looks like a pass."""

import contextlib
import io
import os
import pathlib
import select
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "scripts"))
import stages  # noqa: E402
from stages import Result, Stage  # noqa: E402


class StagesTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        stages.LOGS = pathlib.Path(folder.name)

    def run_quietly(self, *table):
        """The results by name, and what was printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            results = stages.run_all(table)
            stages.close(results, 1)
        return {result.stage.name: result for result in results}, printed.getvalue()

    def failure(self, command, **more):
        results, _ = self.run_quietly(Stage("one", "", command, **more))
        return results["one"].failure

    def last_line(self, *table):
        return self.run_quietly(*table)[1].splitlines()[-1]

    def test_exit_code(self):
        self.assertEqual(self.failure("true"), "")
        self.assertEqual(self.failure("exit 3"), "exit code 3")

    def test_a_count_that_is_missing_is_a_failure(self):
        self.assertIn("states", self.failure("echo summary: other=1", owes=("states",)))
        self.assertIn("states", self.failure("echo 'summary: states='", owes=("states",)))
        self.assertEqual(self.failure("echo summary: states=1", owes=("states",)), "")

    def test_failures_count_though_the_exit_code_is_0(self):
        self.assertIn("2 failed", self.failure("echo summary: passed=1 failed=2"))

    def test_a_mutant_that_lives_is_a_failure(self):
        self.assertIn("1 of 2", self.failure("echo summary: mutants=2 killed=1"))
        self.assertEqual(self.failure("echo summary: mutants=2 killed=2"), "")

    def test_time_over_ends_the_children_too(self):
        held = stages.LOGS / "held"
        os.mkfifo(held)
        end = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, end)
        self.assertIn("not finished", self.failure(f"exec 9>{held}; sleep 60 & sleep 60", timeout_s=0.5))
        hung_up = select.poll()
        hung_up.register(end, 0)
        self.assertTrue(hung_up.poll(10_000), "a child still holds the pipe")

    def test_no_input(self):
        self.assertEqual(self.failure("! read -r line"), "")

    def test_a_later_summary_overrules(self):
        self.assertEqual(stages.read_counts("summary: a=1 b=2\nx\nsummary: a=3\n"), {"a": 3, "b": 2})
        self.assertEqual(stages.read_counts("not a summary: a=1\nsummary: a=1.5x b=-1\n"), {})

    def test_what_needs_a_failed_stage_is_not_run_and_fails(self):
        results, printed = self.run_quietly(Stage("a", "", "false"), Stage("b", "", "true", ("a",)),
                                            Stage("c", "", "true"))
        self.assertEqual([bool(results[name].failure) for name in "abc"], [True, True, False])
        self.assertEqual(printed.splitlines()[-1], "1 passed, 2 failed, 0 skipped")

    def test_the_end_of_a_failed_log_is_shown(self):
        _, printed = self.run_quietly(Stage("a", "", "echo here it broke; false"))
        self.assertIn("here it broke", printed)

    def test_the_last_line_adds_up(self):
        table = (Stage("a", "", "echo summary: passed=5 failed=0 skipped=1"), Stage("b", "", "true"),
                 Stage("c", "", "echo SKIPPED kernel: too old"))
        self.assertEqual(self.last_line(*table), "7 passed, 0 failed, 2 skipped")
        self.assertIn("SKIPPED kernel: too old [c]", self.run_quietly(*table)[1])

    def test_a_failed_stage_counts_at_least_once(self):
        self.assertEqual(self.last_line(Stage("a", "", "echo summary: passed=5 failed=0; false")),
                         "5 passed, 1 failed, 0 skipped")
        self.assertEqual(self.last_line(Stage("a", "", "echo summary: passed=5 failed=3; false")),
                         "5 passed, 3 failed, 0 skipped")

    def test_totals_are_added_over_stages(self):
        _, printed = self.run_quietly(Stage("a", "", "echo summary: sigkills=1000"),
                                      Stage("b", "", "echo summary: sigkills=34"))
        self.assertRegex(printed, r"1,034  SIGKILLs")

    def test_chosen_brings_its_needs(self):
        names = [stage.name for stage in stages.chosen(["unit"])]
        self.assertEqual(names, ["build-dev", "unit"])
        self.assertEqual(len(stages.chosen([])), len(stages.STAGES))

    def test_the_table_names_what_exists_and_comes_before(self):
        seen = set()
        for stage in stages.STAGES:
            self.assertTrue(set(stage.needs) <= seen, stage.name)
            seen.add(stage.name)


if __name__ == "__main__":
    unittest.main(verbosity=1)
