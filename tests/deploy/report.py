"""Counts what held and what did not, and says each as it is found."""

import sys
import time
import traceback


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.started = time.monotonic()

    def check(self, sentence: str, act) -> bool:
        """Runs one check; whether it held."""
        began = time.monotonic()
        try:
            act()
        except Exception as error:
            self.failed += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            print(f"FAILED  {sentence}: {type(error).__name__}: {error} ({place.name}, line {place.lineno})", flush=True)
            return False
        self.passed += 1
        print(f"ok      {sentence} ({time.monotonic() - began:.1f} s)", flush=True)
        return True

    def end(self) -> None:
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        sys.exit(0 if self.failed == 0 else 1)
