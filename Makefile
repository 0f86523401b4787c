# SPDX-License-Identifier: BSD-2-Clause
# make: builds. make run: shows it working. make check: tests everything. make help: the rest.

VERSION := 0.1.0
SOVERSION := 1
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
CLANG   ?= clang
# Debian keeps bpftool where only root's PATH looks.
BPFTOOL ?= $(or $(shell command -v bpftool),/usr/sbin/bpftool)
CLANG_FORMAT ?= clang-format
CLANG_TIDY   ?= clang-tidy
OPT     ?= -O2 -g
SANITIZE ?=
# A build with a sanitizer, in a directory of its own: FLAVOUR=asan or FLAVOUR=tsan.
ifneq ($(FLAVOUR),)
override BUILD := $(BUILD)-$(FLAVOUR)
OPT = -O1 -g -fno-omit-frame-pointer
SANITIZE = $(SANITIZE_$(FLAVOUR))
endif
SANITIZE_asan = -fsanitize=address,undefined -fno-sanitize-recover=undefined
SANITIZE_tsan = -fsanitize=thread

# No -fvisibility=hidden: libxylem.map decides what the shared library shows.
CFLAGS_ALL := -std=gnu17 $(OPT) -Wall -Wextra -Werror -fPIC -fno-semantic-interposition -pthread \
	-D_GNU_SOURCE -DXY_VERSION='"$(VERSION)"' -Iinclude -Iuser -I$(BUILD)/gen \
	$(SANITIZE) $(CFLAGS)
LDFLAGS_ALL := -pthread $(SANITIZE) $(LDFLAGS)
LIBS := -lbpf -ljansson -lurcu-memb -lisal -lssl -lcrypto -lseccomp
LIBS_CLIENT := -ljansson -lisal -lssl -lcrypto

LAYERS := base io proto kernel core edge client cmd
$(foreach l,$(LAYERS),$(eval SRC_$(l) := $(sort $(wildcard user/$(l)/*.c))))
$(foreach l,$(LAYERS),$(eval OBJ_$(l) := $(patsubst user/%.c,$(BUILD)/obj/%.o,$(SRC_$(l)))))
$(foreach l,$(LAYERS),$(eval A_$(l) := $(BUILD)/lib/$(l).a))
OBJ_all := $(foreach l,$(LAYERS),$(OBJ_$(l)))
# Every archive, topmost layer first: what a test may link.
ARCHIVES := $(foreach l,client edge core kernel proto io base,$(A_$(l)))

.PHONY: all
all: $(BUILD)/xylem $(BUILD)/libxylem.a $(BUILD)/libxylem.so $(BUILD)/xylem.pc $(BUILD)/examples/lines

# ---- what every build needs --------------------------------------------------------------------
# Packages are asked for once per build directory, and flags are remembered: a file that holds them
# changes when they do, and everything compiled depends on it.
PACKAGES_OK := $(BUILD)/.packages
$(PACKAGES_OK): scripts/deps.sh
	@CC="$(CC)" scripts/deps.sh check build
	@mkdir -p $(@D) && touch $@
$(BUILD)/.packages-check: scripts/deps.sh
	@CC="$(CC)" scripts/deps.sh check build check
	@mkdir -p $(@D) && touch $@

FLAGS := $(BUILD)/.flags
FLAGS_NOW = $(CC) $(CLANG) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(BPF_CFLAGS) $(LIBS) $(LIBS_CLIENT)
.PHONY: force
$(FLAGS): force
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || \
		printf '%s\n' '$(subst ','\'',$(FLAGS_NOW))' > $@

# ---- kernel programs ---------------------------------------------------------------------------
SKEL := $(BUILD)/gen/xylem.skel.h
BPF_CFLAGS := -target bpf -mcpu=v2 -O2 -g -Wall -Wextra -Werror -Iinclude \
	-idirafter /usr/include/$(shell uname -m)-linux-gnu

$(BUILD)/bpf/xylem.bpf.o: bpf/xylem.bpf.c $(wildcard bpf/*.h include/xylem/*.h) $(FLAGS) | $(PACKAGES_OK)
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@
$(SKEL): $(BUILD)/bpf/xylem.bpf.o
	@mkdir -p $(@D)
	$(BPFTOOL) gen skeleton $< name xylem_bpf > $@.tmp && mv $@.tmp $@

# ---- objects, archives, program, library -------------------------------------------------------
$(BUILD)/obj/%.o: user/%.c $(FLAGS) | $(PACKAGES_OK)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -MMD -MP -c $< -o $@
$(OBJ_kernel): $(SKEL)
define archive
$(A_$(1)): $(OBJ_$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call archive,$(l))))

$(BUILD)/xylem: $(OBJ_cmd) $(ARCHIVES)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

LIB_OBJ = $(OBJ_client) $(OBJ_proto) $(OBJ_io) $(OBJ_base)
LIB_SO := libxylem.so.$(SOVERSION)
$(BUILD)/libxylem.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^
# Client and pipes whole, of the layers below only what they use.
$(BUILD)/$(LIB_SO): $(A_client) $(A_io) $(A_proto) $(A_base) user/client/libxylem.map
	$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,$(LIB_SO) $(if $(SANITIZE),,-Wl,-z,defs) \
		-Wl,--version-script,user/client/libxylem.map -o $@ \
		-Wl,--whole-archive $(A_client) $(A_io) -Wl,--no-whole-archive $(A_proto) $(A_base) \
		-Wl,--as-needed $(LIBS_CLIENT)
$(BUILD)/libxylem.so: $(BUILD)/$(LIB_SO)
	ln -sf $(LIB_SO) $@
# Directories may change from one call to the next without any flag doing so.
$(BUILD)/xylem.pc: scripts/xylem.pc.in force
	@mkdir -p $(@D)
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS@|$(LIBS_CLIENT)|' $< > $@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@

# What another program would do: the public headers and the shared library, nothing else.
$(BUILD)/examples/%: docs/examples/%.c $(BUILD)/libxylem.so $(wildcard include/xylem/*.h) $(FLAGS)
	@mkdir -p $(@D)
	$(CC) -std=gnu17 $(OPT) -Wall -Wextra -Werror -Iinclude $(SANITIZE) $(CFLAGS) -o $@ $< \
		-L$(BUILD) -lxylem -Wl,-rpath,'$$ORIGIN/..' $(LDFLAGS)

# ---- comparison ----------------------------------------------------------------------------------
# Others, by their clients where those are installed, in the bench's own engine. Nothing of the
# product knows of them.
BENCH = $(BUILD)/bench
PEERS := $(foreach p,nats=libnats redis=hiredis zeromq=libzmq mosquitto=libmosquitto,$(if $(shell \
	pkg-config --exists $(lastword $(subst =, ,$(p))) 2>/dev/null && echo yes),$(p)))
PEER_NAMES = $(foreach p,$(PEERS),$(firstword $(subst =, ,$(p))))
PEER_LIBS = $(foreach p,$(PEERS),$(shell pkg-config --libs $(lastword $(subst =, ,$(p)))))
PEER_OBJ = $(foreach p,main stream $(PEER_NAMES),$(BENCH)/obj/$(p).o)
$(BENCH)/.peers: force
	@mkdir -p $(@D)
	@echo '$(PEERS)' | cmp -s - $@ || echo '$(PEERS)' > $@
$(BENCH)/obj/%.o: scripts/bench/peers/%.c $(FLAGS) $(BENCH)/.peers | $(PACKAGES_OK)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(foreach p,$(PEER_NAMES),-DPEER_$(shell echo $(p) | tr a-z A-Z)) -MMD -MP -c $< -o $@
$(BENCH)/peers: $(PEER_OBJ) $(A_cmd) $(ARCHIVES)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(PEER_LIBS)
$(BENCH)/zeromq_proxy: scripts/bench/zeromq_proxy.c $(FLAGS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -o $@ $< $(LDFLAGS_ALL) $(shell pkg-config --libs libzmq)
.PHONY: bench-programs bench bench-quick
bench-programs: all $(BENCH)/peers $(if $(filter zeromq=%,$(PEERS)),$(BENCH)/zeromq_proxy)
# What cannot be installed is left out, and told.
bench bench-quick:
	@CC="$(CC)" scripts/deps.sh install build check
	@scripts/deps.sh install peers || echo 'bench: without those'
	@$(MAKE) --no-print-directory bench-programs $(BUILD)/tests/e2e/test_idle
	@python3 -B scripts/bench/compare.py --build $(BUILD) $(if $(filter bench-quick,$@),--quick) $(BENCH_OPTIONS)

# ---- tests ------------------------------------------------------------------------------------
LEVELS := unit fuzz kernel e2e
tests_of = $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/$(1)/test_*.c)))
TESTS = $(foreach l,$(LEVELS),$(call tests_of,$(l)))
TEST_COMMON = $(patsubst tests/%.c,$(BUILD)/obj/tests/%.o,$(wildcard tests/common/*.c))
$(BUILD)/obj/tests/%.o: tests/%.c $(FLAGS) | $(BUILD)/.packages-check
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Itests -MMD -MP -c $< -o $@
# Tests may look into the kernel side's skeleton.
$(TESTS:$(BUILD)/tests/%=$(BUILD)/obj/tests/%.o) $(TEST_COMMON): | $(SKEL)
$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TEST_COMMON) $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) -lcmocka

# Of the commands' layer, which is no archive that others may link.
$(BUILD)/tests/unit/test_histogram: $(BUILD)/obj/cmd/histogram.o
$(BUILD)/tests/unit/test_bench_stamp: $(BUILD)/obj/cmd/bench_stamp.o
# Of the chaos run.
$(BUILD)/tests/unit/test_ledger: $(BUILD)/obj/tests/chaos/ledger.o

# This one has no memory when it says so.
$(BUILD)/tests/unit/test_pool_memory: private LDFLAGS_ALL += -Wl,--wrap=mmap
# This one is there between two steps of the product.
$(BUILD)/tests/unit/test_worker: private LDFLAGS_ALL += \
	-Wl,--wrap=xy_pipe_append,--wrap=xy_pool_trim,--wrap=xy_connection_abort \
	-Wl,--wrap=xy_router_endpoint
$(BUILD)/tests/e2e/test_lines: | $(BUILD)/examples/lines

# Loaded into the proxy by a test: allocations that fail.
$(BUILD)/tests/e2e/test_memory: | $(BUILD)/tests/faults.so
# ... and a kernel that lacks something.
$(BUILD)/tests/e2e/test_doctor $(BUILD)/tests/e2e/test_doctor_machine: | $(BUILD)/tests/kernel.so
# ... and a loop that is not itself.
$(BUILD)/tests/e2e/test_confine: | $(BUILD)/tests/captive.so
# ... and a sender that harms its messages.
$(BUILD)/tests/e2e/test_bench_harm: | $(BUILD)/tests/harm.so
$(BUILD)/tests/%.so: tests/preload/%.c tests/common/faults.h tests/common/captive.h $(FLAGS)
	@mkdir -p $(@D)
	$(CC) -std=gnu17 -O2 -g -Wall -Wextra -Werror -fPIC -fno-builtin -D_GNU_SOURCE -Iinclude -Itests \
		-shared -o $@ $<

# A fuzzer without a fuzzing library gives itself its corpus; the commands' layer is for the fuzzers of
# what users write.
FUZZ_OBJ = $(patsubst tests/%.c,$(BUILD)/obj/tests/%.o,$(sort $(wildcard tests/fuzz/test_*.c)))
$(call tests_of,fuzz): $(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/replay.o $(A_cmd) $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$(BUILD)/obj/tests/fuzz/test_verdict.o: $(wildcard bpf/*.h)

.PHONY: tests check check-unit check-fuzz check-kernel check-e2e check-model model
tests: $(TESTS) $(BENCH)/peers
check-unit check-fuzz check-kernel check-e2e: check-%: $(BUILD)/xylem
	@$(MAKE) --no-print-directory $(call tests_of,$*) $(if $(filter e2e,$*),$(BENCH)/peers)
	@BUILD=$(BUILD) scripts/check.sh $*
check: deps
	@$(MAKE) --no-print-directory all tests
	@rm -f $(BUILD)/check.results
	@BUILD=$(BUILD) CHECK_RESULTS=$(BUILD)/check.results scripts/check.sh $(LEVELS) model
# The models need nothing that is built.
check-model:
	@scripts/deps.sh check check
	@BUILD=$(BUILD) scripts/check.sh model
model:
	@scripts/deps.sh check check
	@MODEL_FULL=1 python3 tests/model/test_model.py

# Containers: another eBPF agent is among what they meet.
$(BUILD)/tests/pods/%.bpf.o: tests/pods/%.bpf.c $(FLAGS)
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@
.PHONY: check-pods
check-pods: $(BUILD)/xylem $(BUILD)/tests/pods/foreign.bpf.o
	@scripts/deps.sh check pods
	@BUILD=$(BUILD) JOBS=1 scripts/check.sh pods

# The same tests in a sanitizer's build, with fewer messages: what it says fails the test.
.PHONY: check-asan check-tsan
check-asan check-tsan: check-%: deps
	@$(MAKE) --no-print-directory FLAVOUR=$* all tests
	@BUILD=$(BUILD)-$* XY_TEST_SCALE=$${XY_TEST_SCALE:-20} CHECK_AGAIN=1 scripts/check.sh $(LEVELS)

# On other kernels, in virtual machines (scripts/vm/check.sh).
.PHONY: check-vm
check-vm: deps
	@scripts/deps.sh check vm
	@$(MAKE) --no-print-directory all tests $(BUILD)/chaos/chaos
	@BUILD=$(BUILD) scripts/vm/check.sh $(GUESTS)

# Tests that cannot fail prove nothing: each mutant must turn its test red (see the script).
.PHONY: mutants
mutants: all | $(BUILD)/.packages-check
	@BUILD=$(BUILD) scripts/mutants.sh $(MUTANT)

# ---- chaos -------------------------------------------------------------------------------------
# Dozens of processes, random traffic, faults; every message checked (tests/chaos/chaos.c). The
# linker lets the workers see three moments of the library.
CHAOS_OBJ := $(patsubst tests/%.c,$(BUILD)/obj/tests/%.o,$(sort \
	$(filter-out tests/chaos/foreign.c,$(wildcard tests/chaos/*.c))))
$(BUILD)/chaos/chaos: $(CHAOS_OBJ) $(addprefix $(BUILD)/obj/tests/common/,certs.o sandbox.o) $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -Wl,--wrap=xy_client_tell,--wrap=xy_client_on_welcome,--wrap=xy_inbound_payload \
		-o $@ $^ $(LIBS) -lcmocka
# For workers in other languages.
CHAOS_LIB := $(addprefix $(BUILD)/obj/tests/chaos/,ledger.o message.o account.o sender.o members.o foreign.o)
$(BUILD)/chaos/libchaos.so: $(CHAOS_LIB) $(A_proto) $(A_base)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -shared -o $@ $^ $(LIBS_CLIENT)
.PHONY: chaos
chaos: $(BUILD)/xylem $(BUILD)/chaos/chaos $(BUILD)/chaos/libchaos.so
	@XYLEM=$(abspath $(BUILD))/xylem XY_BUILD=$(abspath $(BUILD)) \
		$(BUILD)/chaos/chaos $(BUILD)/chaos \
		$(or $(SECONDS),60) $(or $(SEED),0) $(or $(RATE),60000)

# ---- benches -----------------------------------------------------------------------------------
# How cost grows, and a newline server with pipes and without; what they find is in $(BUILD)/bench/,
# and is drawn from there.
.PHONY: bench-scale bench-lines plots
bench-scale: all
	@scripts/deps.sh check check
	@BUILD=$(abspath $(BUILD)) scripts/bench/scale.sh $(CURVES)
bench-lines: all
	@scripts/deps.sh check check
	@BUILD=$(abspath $(BUILD)) scripts/bench/lines.sh
plots:
	@scripts/deps.sh check check bench
	@BUILD=$(abspath $(BUILD)) scripts/bench/plot.sh

# Fuzzers explore in a build of their own, with clang's libFuzzer and sanitizers.
FUZZ_BUILD = $(BUILD)/fuzz
FUZZ_SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=undefined
.PHONY: fuzz fuzzers
SECONDS ?= 60
fuzz:
	@scripts/deps.sh check fuzz
	@$(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=$(CLANG) OPT='-O1 -g -fno-omit-frame-pointer' \
		SANITIZE='-fsanitize=fuzzer-no-link $(FUZZ_SANITIZE)' fuzzers
	@FUZZ_SECONDS=$(SECONDS) scripts/fuzz.sh $(FUZZ_BUILD) $(FUZZER)
fuzzers: $(FUZZ_OBJ:$(BUILD)/obj/tests/fuzz/test_%.o=$(BUILD)/fuzzers/%)
$(BUILD)/fuzzers/%: $(BUILD)/obj/tests/fuzz/test_%.o $(A_cmd) $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(LIBS)

# ---- the rest ----------------------------------------------------------------------------------
.PHONY: deps run lint tidy format install clean help
deps:
	@CC="$(CC)" scripts/deps.sh install build check lint
run: deps
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) scripts/run.sh

FORMATTED = $(wildcard user/*/*.[ch] scripts/bench/peers/*.[ch] docs/examples/*.c include/xylem/*.h bpf/*.[ch] tests/*/*.[ch])
lint:
	@scripts/deps.sh check lint
	@scripts/lint-includes.sh
	@scripts/lint-spdx.sh
	@scripts/mutants.sh --check
	@$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED) && echo "format: $(words $(FORMATTED)) files"
format:
	$(CLANG_FORMAT) -i $(FORMATTED)
tidy: $(SKEL)
	@scripts/deps.sh check tidy
	@printf '%s\n' $(foreach l,$(LAYERS),$(SRC_$(l))) | \
		xargs -P 2 -n 4 sh -c '$(CLANG_TIDY) --quiet "$$@" -- $(subst ','"'"',$(patsubst -I$(BUILD)/gen,-isystem $(BUILD)/gen,$(filter-out -Werror,$(CFLAGS_ALL))))' tidy

install: all
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/xylem
	install -m 755 $(BUILD)/xylem $(DESTDIR)$(BINDIR)/
	install -m 644 $(BUILD)/libxylem.a $(DESTDIR)$(LIBDIR)/
	install -m 755 $(BUILD)/$(LIB_SO) $(DESTDIR)$(LIBDIR)/$(LIB_SO).$(VERSION)
	ln -sf $(LIB_SO).$(VERSION) $(DESTDIR)$(LIBDIR)/$(LIB_SO)
	ln -sf $(LIB_SO) $(DESTDIR)$(LIBDIR)/libxylem.so
	install -m 644 include/xylem/*.h $(DESTDIR)$(INCLUDEDIR)/xylem/
	install -m 644 $(BUILD)/xylem.pc $(DESTDIR)$(LIBDIR)/pkgconfig/
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" != 0 ] || ldconfig

clean:
	rm -rf $(BUILD)

help:
	@echo 'make               builds into $(BUILD)/: xylem, libxylem.a, libxylem.so, xylem.pc'
	@echo 'make run           installs what is missing, builds, and shows it working'
	@echo 'make check         installs what is missing, builds, and runs every test'
	@echo 'make chaos         random traffic and faults for SECONDS (60), by SEED (random; root)'
	@echo 'make check-unit    one level by itself; also check-fuzz, check-kernel, check-e2e (root),'
	@echo '                   and check-model'
	@echo 'make check-pods    pods of real containers, with runc (root)'
	@echo 'make model         verifies the larger models, too (minutes, 4 GB; docs/MODEL.md)'
	@echo 'make check-asan    every test in a build with the address and undefined sanitizers; also check-tsan'
	@echo 'make check-vm      tests on older kernels, in virtual machines, as a table; GUESTS="5.10 6.1": these'
	@echo 'make fuzz          lets every fuzzer explore for SECONDS=$(SECONDS); FUZZER=name: one'
	@echo 'make bench         compares with NATS, Redis, ZeroMQ, mosquitto, haproxy, nginx, in half an hour;'
	@echo '                   make bench-quick: in three minutes (root; docs/PERFORMANCE.md)'
	@echo 'make mutants       breaks the product in many small ways and expects red tests; MUTANT=name: one'
	@echo 'make bench-scale   how cost grows with lanes, flows, subscriptions … (root, 8 minutes); CURVES="lanes": these'
	@echo 'make bench-lines   a newline server with pipes and one without'
	@echo 'make plots         draws what benches have measured into docs/plots/'
	@echo 'make deps          installs the packages that are missing (root)'
	@echo 'make install       honours PREFIX ($(PREFIX)) and DESTDIR'
	@echo 'make lint          include directions, licences, mutants, format; make format repairs the latter'
	@echo 'make tidy          clang-tidy'
	@echo 'make clean         removes $(BUILD)/'
	@echo 'Variables: BUILD, CC, CLANG, OPT, CFLAGS, LDFLAGS, SANITIZE (-fsanitize=address,undefined),'
	@echo '           CHECK_ONLY (part of a test name), JOBS (tests at a time), CHECK_SKIPS=forbid,'
	@echo '           XY_TEST_FILTER (one test function of a test program)'

.SECONDARY:
-include $(OBJ_all:.o=.d) $(wildcard $(BUILD)/obj/tests/*/*.d $(BENCH)/obj/*.d)
