# SPDX-License-Identifier: BSD-2-Clause
# Forwards to meson, and installs what is missing from Debian's packages.
#
#   make run [FILE=file] [ARGS="--cache 1G"]    build, then measure: folio bench
#   make check                                  build, then run the tests
#   make linux-check                            the counter in Linux: linux/README.md; half an hour

BUILD    ?= build
FILE     ?=
ARGS     ?=
PACKAGES := gcc g++ meson ninja-build pkg-config python3 liburcu-dev liburing-dev
TESTING  := libcmocka-dev

# A name of the caller's is none of make's, which would take it apart at its blanks.
run: $(BUILD)/build.ninja $(if $(FILE),,$(BUILD)/bench.data)
	ninja -C $(BUILD) tools/folio
	$(BUILD)/tools/folio bench $(ARGS) -- '$(subst ','\'',$(or $(FILE),$(BUILD)/bench.data))'

check: $(BUILD)/build.ninja
	ninja -C $(BUILD)
	meson test -C $(BUILD) --no-rebuild --print-errorlogs --no-suite models

linux-check:
	linux/run $(ARGS)

# 256 MiB that do not compress and are not one block of zeros.
$(BUILD)/bench.data: | $(BUILD)/build.ninja
	dd if=/dev/urandom of=$@ bs=1M count=256 status=none

$(BUILD)/build.ninja: | packages
	meson setup $(BUILD)

# Quiet and without network when everything is there.
packages:
	@missing=; for package in $(PACKAGES) $(TESTING); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || \
			missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update -q && DEBIAN_FRONTEND=noninteractive \
			$$sudo apt-get install -q -y --no-install-recommends $$missing; fi

clean:
	rm -rf $(BUILD)

.PHONY: run check linux-check packages clean
