"""Which tests are red, by what the runners print."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarm.gating.outcomes import Outcomes
from swarm.gating.reading import read

PYTEST = """
FAILED tests/test_a.py::TestC::test_p[a - b] [c::d] - AssertionError: assert 1 == 2
SUBFAILED(i=0) tests/test_a.py::U::test_sub - AssertionError: 0 != 1
SUBFAILED[why] (i=2) tests/test_a.py::U::test_sub - AssertionError: 2 != 1
ERROR tests/test_a.py::TestC::test_f - ValueError: no
3 failed, 4 passed, 1 skipped, 1 xfailed, 1 error, 1 subtests passed in 62.11s (0:01:02)
"""
TWICE = """
=========================== short test summary info ============================
FAILED test_one.py::test_a - assert 0
========================= 1 failed, 2 passed in 0.05s ==========================
py312: FAIL code 1
=========================== short test summary info ============================
FAILED test_one.py::test_b - assert 0
========================= 1 failed, 2 passed in 0.05s ==========================
"""
HIDDEN = """
=================================== FAILURES ===================================
________________________________ TestC.test_a[1] _______________________________
tests/test_h.py:3: in test_a
    assert 0
E   assert 0
1 failed, 2 passed in 0.05s
"""
INTERRUPTED = """
=========================== short test summary info ============================
ERROR bad/test_bad.py
!!!!!!!!!!!!!!!!!!!! Interrupted: 1 error during collection !!!!!!!!!!!!!!!!!!!!
1 error in 0.13s
"""
UNITTEST = """
======================================================================
FAIL: test_sub (u.TestU.test_sub) (i=0)
----------------------------------------------------------------------
======================================================================
ERROR: test_old (u.TestU)
a docstring
----------------------------------------------------------------------
======================================================================
ERROR: setUpClass (u.S)
----------------------------------------------------------------------
======================================================================
ERROR: pkg.test_gone (unittest.loader._FailedTest.pkg.test_gone)
----------------------------------------------------------------------
Ran 5 tests in 0.002s

FAILED (failures=1, errors=3)
"""
JEST = """
PASS src/good.test.js
FAIL src/sum.test.js (5.1 s)
  ● sum \u203a adds \u203a well

    expect(received).toBe(expected)

FAIL ./src/bad.test.js
  ● Test suite failed to run

Test Suites: 2 failed, 1 passed, 3 total
Tests:       1 failed, 2 passed, 3 total
"""
VITEST = """
 \u276f src/sum.test.ts (2 tests | 1 failed) 5ms
   \u00d7 sum > adds 3ms

⎯⎯⎯⎯⎯⎯⎯ Failed Suites 1 ⎯⎯⎯⎯⎯⎯⎯
 FAIL  src/bad.test.ts [ src/bad.test.ts ]
 FAIL  src/sum.test.ts > sum > adds
AssertionError: expected 3 to be 4
 Test Files  2 failed (2)
      Tests  1 failed | 1 passed (2)
"""
MOCHA = """
  sum
    1) adds
    ✔ takes away

  1 passing (5ms)
  1 failing

  1) sum
       adds:
     AssertionError [ERR_ASSERTION]: 3 == 4
"""
TAP = """TAP version 13
# Subtest: suite
    # Subtest: inner bad
    not ok 1 - inner bad
      ---
      error: 'x'
      ...
    # Subtest: deep
        # Subtest: x
        not ok 1 - x
        1..1
    not ok 2 - deep
    # Subtest: fine
    ok 3 - fine
    1..3
not ok 1 - suite
# Subtest: later
not ok 2 - later # TODO
# Subtest: bad
not ok 3 - bad
1..3
# tests 5
# fail 3
"""
SPEC = """
✖ bad (1.21ms)
\u2139 tests 2
\u2139 fail 1

✖ failing tests:

test at a.test.mjs:2:26
✖ bad (1.21ms)
✖ later (0.1ms) # TODO
"""
CARGO = """
     Running unittests src/lib.rs (/tmp/target/debug/deps/tiny-42c0d0b1e2f3a4b5)

running 2 tests
test tests::bad ... FAILED
test tests::good ... ok

failures:

---- tests::bad stdout ----
    some output of it

failures:
    tests::bad

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

error: test failed, to rerun pass `--lib`
"""
WENT_ON = """     Running tests/it.rs (target/debug/deps/it-42c0d0b1e2f3a4b5)

running 1 test
F
failures:
    it_bad

   Doc-tests tiny

running 1 test
test src/lib.rs - add (line 1) ... FAILED

error: 3 targets failed:
    `--lib`
"""
COMPILE = "error[E0308]: mismatched types\nerror: could not compile `tiny` (lib test) due to 1 previous error\n"
NEXTEST = """
        PASS [   0.005s] (1/2) tiny tests::good
        FAIL [   0.006s] (2/2) tiny tests::bad
     Summary [   0.008s] 2 tests run: 1 passed, 1 failed, 0 skipped
        FAIL [   0.006s] (2/2) tiny tests::bad
"""
GO = """
--- FAIL: TestTable (0.00s)
    --- FAIL: TestTable/empty (0.00s)
        a_test.go:9: no
--- FAIL: TestOther (0.00s)
FAIL
FAIL\texample.com/a\t0.002s
ok  \texample.com/b\t(cached)
?   \texample.com/c\t[no test files]
# example.com/d
d/d.go:3:1: syntax error
FAIL\texample.com/d [build failed]
FAIL
"""
GO_JSON = """{"Action":"run","Package":"example.com/a","Test":"TestA"}
{"Action":"output","Package":"example.com/a","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\\n"}
{"Action":"fail","Package":"example.com/a","Test":"TestA/x","Elapsed":0}
{"Action":"fail","Package":"example.com/a","Test":"TestA","Elapsed":0}
{"Action":"pass","Package":"example.com/a","Test":"TestB","Elapsed":0}
{"Action":"fail","Package":"example.com/a","Elapsed":0}
{"Action":"fail","Package":"example.com/d","Elapsed":0,"FailedBuild":"example.com/d"}
"""
CTEST = """
1/2 Test #1: one ..............   Passed    0.00 sec
2/2 Test #2: two words ........***Failed    0.00 sec

50% tests passed, 1 tests failed out of 2

The following tests FAILED:
\t  2 - two words (Failed)
Errors while running CTest
"""
RSPEC = """
3 examples, 1 failure

Failed examples:

rspec ./spec/sum_spec.rb:5 # Sum adds two numbers
"""
MINITEST = """
  1) Failure:
TestSum#test_adds [test/sum_test.rb:6]:
Expected: 4
  2) Error:
TestSum#test_breaks:
NoMethodError: undefined method
  3) Failure:
#bar#test_0001_is [x] well [test/sum_test.rb:9]:
Expected: 4

3 runs, 2 assertions, 1 failures, 1 errors, 0 skips
"""
PHPUNIT = """
There was 1 error:

1) Tests\\SumTest::testBreaks
Error: no

There was 1 failure:

1) Tests\\SumTest::testAdds with data set #0 (1, 2)
Failed asserting that 3 matches expected 4.

There was 1 risky test:

1) Tests\\SumTest::testRisky

Tests: 4, Assertions: 2, Errors: 1, Failures: 1.
"""
SUREFIRE = """
[ERROR] Tests run: 2, Failures: 1, Errors: 1, Skipped: 0, Time elapsed: 0.03 s <<< FAILURE! - in com.foo.SumTest
[ERROR] com.foo.SumTest.adds  Time elapsed: 0.01 s  <<< FAILURE!
[ERROR] breaks(com.foo.SumTest)  Time elapsed: 0.01 s  <<< ERROR!
[ERROR] com.foo.SumTest.adds(String, int)[1]  Time elapsed: 0.002 s  <<< FAILURE!
[ERROR] com.foo.SumTest.adds() -- Time elapsed: 0.002 s <<< ERROR!
[ERROR] com.foo.SumTest.told(TestInfo) -- Time elapsed: 0.002 s <<< ERROR!
each[0: (1.5)](com.foo.SumTest)  Time elapsed: 0.002 sec  <<< FAILURE!
[ERROR] Tests run: 2, Failures: 1, Errors: 1, Skipped: 0
"""
GRADLE = "com.foo.SumTest > adds FAILED\n    AssertionFailedError at SumTest.java:9\n\n2 tests completed, 1 failed\n"
DOTNET = """
  Failed Foo.SumTest.Adds [12 ms]
  Error Message:
Failed!  - Failed:     1, Passed:     2, Skipped:     0, Total:     3, Duration: 1 s
"""

SUMMARY = "=========================== short test summary info ============================"


NAMED = [
    (SUMMARY + PYTEST, "pytest", 10, """tests/test_a.py::TestC::test_p[a - b] [c::d]
        tests/test_a.py::U::test_sub\ntests/test_a.py::TestC::test_f"""),
    (TWICE, "pytest", 6, "test_one.py::test_a\ntest_one.py::test_b"),
    (HIDDEN, "pytest", 3, "tests/test_h.py::TestC::test_a[1]"),
    ("\x1b[33m\x1b[33mno tests ran\x1b[0m\x1b[33m in 0.01s\x1b[0m\x1b[0m\r\n", "pytest", 0, ""),
    (UNITTEST, "unittest", 5, "u.TestU.test_sub\nu.TestU.test_old\nu.S.setUpClass\npkg.test_gone"),
    (JEST, "jest", 3, "src/sum.test.js: sum \u203a adds \u203a well\n./src/bad.test.js"),
    ("No tests found, exiting with code 1\n", "jest", 0, ""),
    (VITEST, "vitest", 2, "src/bad.test.ts\nsrc/sum.test.ts > sum > adds"),
    (MOCHA, "mocha", 2, "sum > adds"),
    (TAP, "TAP", 5, "suite > inner bad\nsuite > deep > x\nbad"),
    ("1..2\nok 1 one\nnot ok 2 two words\n", "TAP", 2, "two words"),
    (SPEC, "node", 2, "bad"),
    (CARGO + WENT_ON, "cargo", 4, "tiny tests::bad\nit it_bad\ntiny (doc) src/lib.rs - add (line 1)"),
    (NEXTEST, "nextest", 2, "tiny tests::bad"),
    (GO, "go", None, "example.com/a TestTable/empty\nexample.com/a TestOther\nexample.com/d"),
    ("?   \texample.com/c\t[no test files]\n", "go", 0, ""),
    (GO_JSON, "go", 3, "example.com/a TestA/x\nexample.com/d"),
    (CTEST, "ctest", 2, "two words"),
    (RSPEC, "rspec", 3, "spec/sum_spec.rb: Sum adds two numbers"),
    (MINITEST, "minitest", 3, "TestSum#test_adds\nTestSum#test_breaks\n#bar#test_0001_is [x] well"),
    (PHPUNIT, "phpunit", 4, """Tests\\SumTest::testBreaks
        Tests\\SumTest::testAdds with data set #0 (1, 2)"""),
    (SUREFIRE, "surefire", 2, """com.foo.SumTest.adds\ncom.foo.SumTest.breaks
        com.foo.SumTest.adds(String, int)[1]\ncom.foo.SumTest.adds()\ncom.foo.SumTest.told(TestInfo)
        com.foo.SumTest.each[0: (1.5)]"""),
    (GRADLE, "gradle", 2, "com.foo.SumTest > adds"),
    (DOTNET, "dotnet", 3, "Foo.SumTest.Adds"),
    (VITEST + RSPEC, "vitest, rspec", 5, """src/bad.test.ts\nsrc/sum.test.ts > sum > adds
        spec/sum_spec.rb: Sum adds two numbers"""),
    ("make: *** [Makefile:3: all] Error 1\nResolved 12 packages in 1.2s\n12 packages in 1.2s\n", "", None, ""),
]  # fmt: skip
CUT_SHORT = [
    ("1 failed, 2 passed in 0.05s\n", ()),
    (INTERRUPTED, ("bad/test_bad.py",)),
    (CARGO, ("tiny tests::bad",)),
    (COMPILE, ("tiny: does not compile",)),
]


@pytest.mark.parametrize(("output", "runner", "ran", "failed"), NAMED)
def test_runners_are_known_by_what_they_print(output: str, runner: str, ran: int | None, failed: str) -> None:
    found = read(output)
    names = tuple(name.strip() for name in failed.splitlines())
    assert found == Outcomes(runner, names, ran, compiles=runner in ("cargo", "nextest", "go"))


@pytest.mark.parametrize(("output", "failed"), CUT_SHORT)
def test_what_was_left_out_is_told(output: str, failed: tuple[str, ...]) -> None:
    found = read(output)
    assert (found.failed, found.complete) == (failed, False)


PIECES = [line for each in (*NAMED, *CUT_SHORT) for line in str(each[0]).split("\n")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=60), max_size=40).map("\n".join))
@example("{" * 2000 + '"Action"')
@example('{"Action": ["fail"], "Package": "p", "Test": 3}\n{"Action":1,"Package":2}')
def test_nothing_that_is_printed_is_too_much(output: str) -> None:
    found = read(output)
    assert all(found.failed)
    assert len(set(found.failed)) == len(found.failed)
    assert found.ran is None or found.ran >= 0


def test_a_path_below_the_sandboxs_folder_is_told_from_there() -> None:
    found = read("1..1\nnot ok 1 - /tmp/x/copy/a.test.mjs\n")
    assert found.below("/tmp/x/copy").failed == ("a.test.mjs",)
    assert found.below("").failed == found.below("/").failed == found.failed
