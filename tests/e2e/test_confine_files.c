/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that are read again when the proxy has become another user: those that it may read, and
 * those that it may not. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/command.h"
#include "common/proxy.h"
#include "common/raw.h"
#include "common/secure.h"

#define OTHER "4711:4712"

static void reload_tried(unsigned mode, const char *said)
{
	const char *tokens = file_with("tokens", "a-token-of-some-length\n", 1);
	const char *const arguments[] = {"--user", OTHER, "--token-file", tokens, "--anonymous",
					 "local",  NULL};
	struct proxy *proxy;

	assert_int_equal(chown(tokens, 0, 4712), 0);
	assert_int_equal(chmod(tokens, mode), 0);
	proxy = proxy_start(KERNEL_PATH_OFF, arguments);
	/* Known before it is needed. */
	assert_int_equal(proxy_logged(proxy, "event=reload-impossible"), mode == 0600);
	proxy_signal(proxy, SIGHUP);
	proxy_await_logged(proxy, said);
	raw_sync(raw_open(proxy));
	proxy_stop(proxy);
}

static void test_files_are_read_again_by_the_other_user(void **state)
{
	(void)state;
	reload_tried(0640, "event=reloaded");
	reload_tried(0600, "event=reload-failed");
}

static void await_log(const struct proxy *proxy, const char *text, unsigned count)
{
	uint64_t deadline = test_now_ms() + TEST_TIMEOUT_MS;

	while (proxy_logged(proxy, text) < count) {
		assert_true(test_now_ms() < deadline);
		poll(NULL, 0, 2);
	}
}

static void shows(const struct cert *cert)
{
	struct raw *raw = secure_open(&(struct secure_options){0});

	assert_true(secure_shows(raw, cert));
	raw_close(raw);
}

/* The key is closed to the other user, as one that only root may read. */
static void certificate_kept(enum kernel_path kernel_path)
{
	struct cert *first = cert_make(&(struct cert_options){.name = "first"});
	struct cert *next = cert_make(&(struct cert_options){.name = "next"});
	const char *cert_path = in_directory("cert.pem"), *key_path = in_directory("key.pem");
	const char *const arguments[] = {"--user",      OTHER,        "--listen",
					 SECURE_LISTEN, "--tls-cert", cert_path,
					 "--tls-key",   key_path,     NULL};
	struct proxy *proxy;

	cert_write(cert_path, 0644, first->pem);
	cert_write(key_path, 0600, first->key_pem);
	proxy = proxy_start(kernel_path, arguments);
	if (proxy != NULL) {
		assert_int_equal(proxy_logged(proxy, "event=reload-impossible"), 1);
		cert_write(cert_path, 0644, next->pem);
		cert_write(key_path, 0600, next->key_pem);
		RUN("reload", "--instance", proxy_instance(proxy), "--timeout", "60s");
		ended(FAILURE);
		SAYS("nothing has changed", key_path, "Permission denied");
		proxy_signal(proxy, SIGHUP);
		await_log(proxy, "event=reload-failed", 2);
		assert_int_equal(proxy_logged(proxy, "key.pem: Permission denied"), 3);
		shows(first);
		assert_int_equal(chown(key_path, 0, 4712), 0);
		assert_int_equal(chmod(key_path, 0640), 0);
		RUN("reload", "--instance", proxy_instance(proxy), "--timeout", "60s");
		ended(OK);
		shows(next);
		proxy_stop(proxy);
	}
	cert_free(first);
	cert_free(next);
}

static void test_a_key_that_cannot_be_read_again_leaves_the_certificate(void **state)
{
	(void)state;
	certificate_kept(KERNEL_PATH_OFF);
	certificate_kept(KERNEL_PATH_ON);
}

static int teardown(void **state)
{
	(void)state;
	raw_close_all();
	return 0;
}

int main(void)
{
#define TEST(function) cmocka_unit_test_teardown(function, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_files_are_read_again_by_the_other_user),
		TEST(test_a_key_that_cannot_be_read_again_leaves_the_certificate),
	};
	int failed;

	directory_make();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	directory_remove();
	return failed;
}
