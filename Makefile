# SPDX-License-Identifier: BSD-2-Clause
# Calls meson, and installs missing Debian packages.
#
#   make run [FILE=file] [ARGS="--cache 1G"]    build, then measure: folio bench
#   make check                                  build, then run the tests
#   make coverage                               what the unit and fault tests reach: docs/testing.md
#   make linux-check                            the counter in Linux: linux/README.md; half an hour

BUILD    ?= build
FILE     ?=
ARGS     ?=
PACKAGES := gcc g++ meson ninja-build pkg-config python3 liburing-dev
TESTING  := libcmocka-dev

# Standard output is the benchmark's alone, so that ARGS=--json can be piped. FILE is quoted for the
# shell: make itself would split a name at its blanks.
run: $(BUILD)/build.ninja $(if $(FILE),,$(BUILD)/bench.data)
	@ninja -C $(BUILD) tools/folio >&2
	@$(BUILD)/tools/folio bench $(ARGS) -- '$(subst ','\'',$(or $(FILE),$(BUILD)/bench.data))'

check: $(BUILD)/build.ninja
	ninja -C $(BUILD)
	meson test -C $(BUILD) --no-rebuild --print-errorlogs --timeout-multiplier 3 \
		--no-suite models

# Four minutes. Counters are atomic, since threads share them. The seed is fixed, so that the
# figures of two runs are alike. With its builtin, gcc replaces fork by a function that forgets what
# the library does in a child before fork returns. gcov has once computed a negative counter: gcovr
# then reports the line on stderr, and leaves it out.
COVERAGE := $(BUILD)-coverage
COUNTED  := -fprofile-update=atomic -fno-builtin-fork -include $(CURDIR)/tests/coverage.h

coverage: TESTING += gcovr
coverage: packages
	rm -rf $(COVERAGE)
	meson setup $(COVERAGE) -Dbench=false -Dbuildtype=debug -Db_coverage=true \
		-Dc_args='$(COUNTED)'
	FOLIO_SEED=1 meson test -C $(COVERAGE) --print-errorlogs --timeout-multiplier 6 \
		--suite unit --suite fault
	gcovr --root . --gcov-ignore-parse-errors --filter src/ --filter include/ \
		--json $(COVERAGE)/coverage.json $(COVERAGE)
	python3 tests/coverage.py --table docs/testing.md $(COVERAGE)/coverage.json
	python3 tests/coverage.py --check $(COVERAGE)/coverage.json

linux-check:
	linux/run $(ARGS)

# 256 MiB of random bytes: they do not compress, and no two blocks are equal.
$(BUILD)/bench.data: | $(BUILD)/build.ninja
	@dd if=/dev/urandom of=$@ bs=1M count=256 status=none

$(BUILD)/build.ninja: | packages
	@meson setup $(BUILD) >&2

# Quiet, and without network, if everything is installed.
packages:
	@missing=; for package in $(PACKAGES) $(TESTING); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || \
			missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive \
			$$sudo apt-get install -q -y --no-install-recommends $$missing; fi

clean:
	rm -rf $(BUILD) $(COVERAGE)

.PHONY: run check coverage linux-check packages clean
