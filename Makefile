# SPDX-License-Identifier: BSD-2-Clause
# make: builds. make run: shows it working. make check: tests everything. make help: the rest.

VERSION := 0.1.0
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= gcc
CLANG   ?= clang
BPFTOOL ?= bpftool
OPT     ?= -O2 -g
SANITIZE ?=

PACKAGES := libbpf jansson liburcu-memb libisal
CFLAGS_ALL := -std=gnu17 $(OPT) -Wall -Wextra -Werror -fPIC -fvisibility=hidden -pthread \
	-D_GNU_SOURCE -DXY_VERSION='"$(VERSION)"' -Iinclude -Iuser -I$(BUILD)/gen \
	$(SANITIZE) $(CFLAGS)
LDFLAGS_ALL := -pthread $(SANITIZE) $(LDFLAGS)
LIBS := -lbpf -ljansson -lurcu-memb -lurcu-common -lisal

LAYERS := base io proto kernel core edge client cmd
$(foreach l,$(LAYERS),$(eval SRC_$(l) := $(sort $(wildcard user/$(l)/*.c))))
$(foreach l,$(LAYERS),$(eval OBJ_$(l) := $(patsubst user/%.c,$(BUILD)/obj/%.o,$(SRC_$(l)))))
$(foreach l,$(LAYERS),$(eval A_$(l) := $(BUILD)/lib/$(l).a))
OBJ_all := $(foreach l,$(LAYERS),$(OBJ_$(l)))
# Every archive, topmost layer first: what a test may link.
ARCHIVES := $(foreach l,client edge core kernel proto io base,$(A_$(l)))

.PHONY: all
all: $(BUILD)/xylem $(BUILD)/libxylem.a $(BUILD)/libxylem.so

# ---- kernel programs ---------------------------------------------------------------------------
SKEL := $(BUILD)/gen/xylem.skel.h
BPF_CFLAGS := -target bpf -mcpu=v2 -O2 -g -Wall -Wextra -Werror -Iinclude \
	-idirafter /usr/include/$(shell uname -m)-linux-gnu

$(BUILD)/bpf/xylem.bpf.o: bpf/xylem.bpf.c $(wildcard bpf/*.h include/xylem/*.h)
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@
$(SKEL): $(BUILD)/bpf/xylem.bpf.o
	@mkdir -p $(@D)
	$(BPFTOOL) gen skeleton $< name xylem_bpf > $@.tmp && mv $@.tmp $@

# ---- objects, archives, program, library -------------------------------------------------------
$(BUILD)/obj/%.o: user/%.c
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
$(BUILD)/libxylem.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/libxylem.so: $(LIB_OBJ) user/client/libxylem.map
	$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,libxylem.so.1 -Wl,--version-script,user/client/libxylem.map \
		-o $@ $(LIB_OBJ) -ljansson -lisal

# ---- tests ------------------------------------------------------------------------------------
TESTS = $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/*/test_*.c)))
TEST_COMMON = $(patsubst tests/%.c,$(BUILD)/obj/tests/%.o,$(wildcard tests/common/*.c))
$(BUILD)/obj/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -Itests -MMD -MP -c $< -o $@
$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TEST_COMMON) $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $< $(TEST_COMMON) $(ARCHIVES) $(LIBS) -lcmocka

.PHONY: tests clean
tests: $(TESTS)
clean:
	rm -rf $(BUILD)

.SECONDARY:
-include $(OBJ_all:.o=.d) $(wildcard $(BUILD)/obj/tests/*/*.d)
