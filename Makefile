# Short names only; what they do is in run.py.

run:
	@python3 run.py

setup test lint golden bench lock:
	@python3 run.py $@

.PHONY: run setup test lint golden bench lock
