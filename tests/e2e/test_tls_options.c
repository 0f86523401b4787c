/* SPDX-License-Identifier: BSD-2-Clause */
/* What is said of TLS that cannot be: options, files, listeners. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>

#include "common/certs.h"
#include "common/command.h"

#define TLS_ANY "tls:127.0.0.1:0"

static struct cert *ca, *cert, *other;
static char cert_path[128], key_path[128], ca_path[128], rules_path[128];

#define CHECK(...) \
	RUN("serve", "--check-config", "--kernel-path", "off", "--listen", TLS_ANY, __VA_ARGS__)
#define OWN   "--tls-cert", cert_path, "--tls-key", key_path
#define RULES "--config", rules_path

/* The last one said this, and nothing else. */
static void said(const char *format, const char *path)
{
	char line[1024], whole[1100];

	ended(USAGE);
	snprintf(line, sizeof(line), format, path);
	snprintf(whole, sizeof(whole), "xylem serve: %s\n", line);
	if (strcmp(outcome.err, whole) != 0) {
		show();
		fail_msg("it does not say only: %s", whole);
	}
}

static int usual(void **state)
{
	(void)state;
	cert_write(cert_path, 0644, cert->pem);
	cert_write(key_path, 0600, cert->key_pem);
	cert_write(ca_path, 0644, ca->pem);
	file_with("rules.json", "{\"access\": {\"identities\": {\"shop.*\": {}}}}", 1);
	return 0;
}

static void test_what_is_right_is_said_to_be(void **state)
{
	(void)state;
	CHECK(OWN);
	ended(OK);
	CHECK(OWN, "--tls-ca", ca_path, RULES, "--tls-min", "1.2");
	ended(OK);
	assert_string_equal(outcome.err, "");
}

static void test_what_belongs_together_must_be_given_together(void **state)
{
	(void)state;
	CHECK("--tls-cert", cert_path);
	said("tls-cert: there is no tls-key for it", NULL);
	CHECK("--tls-key", key_path);
	said("tls-key: there is no tls-cert for it", NULL);
	CHECK("--tls-ca", ca_path);
	said("tls-ca: a listener with TLS needs tls-cert and tls-key, too", NULL);
	RUN("serve", "--check-config", OWN);
	ended(USAGE);
	SAYS("option --tls-cert: no listener is tls:HOST:PORT");
	CHECK(OWN, "--tls-min", "1.1");
	ended(USAGE);
	SAYS("1.1", "1.2|1.3");
}

static void test_a_listener_with_tls_needs_a_certificate(void **state)
{
	(void)state;
	CHECK("--log-level", "info");
	said("listen: " TLS_ANY ": TLS needs a certificate: give --tls-cert and --tls-key", NULL);
	SERVE("--listen", TLS_ANY);
	ended(USAGE);
	SAYS("option=--listen", "tls:127.0.0.1:", "TLS needs a certificate");
	SERVE("--listen", "tls:unix:/x", OWN);
	ended(USAGE);
	SAYS("'tls:unix:/x' is not HOST:PORT");
	SERVE("--listen", "tls:unix:5", OWN); /* which reads like a host and its port, too */
	ended(USAGE);
	SAYS("'tls:unix:5' is not HOST:PORT");
	SERVE("--listen", "tls:systemd", OWN);
	ended(USAGE);
}

static void test_files_are_what_they_must_be(void **state)
{
	(void)state;
	CHECK("--tls-cert", "/nowhere", "--tls-key", key_path);
	said("/nowhere: No such file or directory", NULL);
	CHECK("--tls-cert", key_path, "--tls-key", key_path);
	said("%s: holds no certificate in PEM", key_path);
	CHECK("--tls-cert", cert_path, "--tls-key", cert_path);
	ended(USAGE); /* others may read it, which is said first */
	SAYS(cert_path, "chmod 600");
	cert_write(key_path, 0600, cert->pem);
	CHECK(OWN);
	said("%s: holds no private key in PEM, or a damaged one", key_path);
	cert_write(key_path, 0600, other->key_pem);
	CHECK(OWN);
	said("%s: this is not the key of the certificate", key_path);
	usual(NULL);
	cert_write(ca_path, 0644, "# nothing yet\n");
	CHECK(OWN, "--tls-ca", ca_path, RULES);
	said("%s: holds no certificate in PEM", ca_path);
}

static void test_files_are_closed_to_others(void **state)
{
	(void)state;
	cert_write(key_path, 0644, cert->key_pem);
	CHECK(OWN);
	said("%s: others than its owner may read or write it (mode 644); chmod 600 it, or 640 for "
	     "a "
	     "group that may read it",
	     key_path);
	cert_write(key_path, 0640, cert->key_pem);
	CHECK(OWN);
	ended(OK);
	cert_write(ca_path, 0666, ca->pem);
	CHECK(OWN, "--tls-ca", ca_path, RULES);
	said("%s: everybody may write to it (mode 666); chmod o-w it", ca_path);
	cert_write(cert_path, 0666, cert->pem);
	CHECK(OWN);
	said("%s: everybody may write to it (mode 666); chmod o-w it", cert_path);
}

static void test_a_key_that_needs_a_passphrase_is_refused_and_nobody_is_asked(void **state)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long length;

	(void)state;
	assert_true(PEM_write_bio_PrivateKey(bio, cert->key, EVP_aes_128_cbc(),
					     (const unsigned char *)"secret", 6, NULL, NULL));
	length = BIO_get_mem_data(bio, &text);
	text = strndup(text, (size_t)length);
	cert_write(key_path, 0600, text);
	CHECK(OWN);
	said("%s: the key is encrypted; nobody is there to decrypt it", key_path);
	free(text);
	BIO_free(bio);
}

static void test_time_is_told_and_no_error(void **state)
{
	struct cert *expired = cert_make(
		&(struct cert_options){.name = "a", .issuer = ca, .from = -20, .until = -10});

	(void)state;
	cert_write(cert_path, 0644, expired->pem);
	cert_write(key_path, 0600, expired->key_pem);
	CHECK(OWN);
	ended(OK);
	SAYS("event=tls-certificate", cert_path, "has expired on");
	cert_free(expired);
}

static void check_listen(const char *address, int status, const char *option, const char *value)
{
	RUN("serve", "--check-config", "--listen", address, OWN, RULES, option, value);
	ended(status);
}

static void test_tls_alone_authenticates_nobody(void **state)
{
	(void)state;
	check_listen("tls:0.0.0.0:7443", USAGE, "--log-level", "info");
	SAYS("TLS alone tells nobody who they are", "give --tls-ca or --token-file");
	check_listen("tls:0.0.0.0:7443", OK, "--tls-ca", ca_path);
	check_listen("tls:0.0.0.0:7443", OK, "--anonymous", "any");
	check_listen("tls:127.0.0.1:7443", OK, "--log-level", "info");
	check_listen("tls:127.0.0.1:7443", USAGE, "--anonymous", "none");
	SAYS("no client could get in");
	/* A certificate cannot be shown where there is no TLS. */
	RUN("serve", "--check-config", "--listen", TLS_ANY, "--listen", "0.0.0.0:7400", OWN, RULES,
	    "--tls-ca", ca_path);
	ended(USAGE);
	SAYS("listen: 0.0.0.0:7400: clients from other machines must authenticate");
	RUN("serve", "--check-config", "--listen", TLS_ANY, "--listen", ANY_PORT, OWN, RULES,
	    "--tls-ca", ca_path);
	ended(USAGE);
	SAYS("no client could get in");
}

/* One authority signs for many, and not for each to do what all may. */
static void test_certificates_of_clients_need_rules(void **state)
{
	static const char why[] = "tls-ca: certificates have names, so that rules must say what "
				  "they may do: add \"identities\" to \"access\" in the file of "
				  "--config";

	(void)state;
	CHECK(OWN, "--tls-ca", ca_path);
	said(why, NULL);
	CHECK(OWN, "--tls-ca", ca_path, "--anonymous", "any");
	said(why, NULL);
	CHECK(OWN, "--tls-ca", ca_path, "--config", file_with("rules.json", "{}", 1));
	said(why, NULL);
	SERVE("--listen", TLS_ANY, OWN, "--tls-ca", ca_path);
	said(why, NULL);
	/* Those who show a token without a name are one, with TLS and without. */
	CHECK(OWN, "--token-file", file_with("tokens", "0123456789abcdef\n", 1));
	ended(OK);
}

/* Lanes are for those who speak plain TCP. */
static void test_the_kernel_path_needs_a_listener_without_tls(void **state)
{
	(void)state;
	RUN("serve", "--listen", TLS_ANY, "--kernel-path", "on", OWN);
	ended(NO_KERNEL);
	SAYS("no TCP listener without TLS");
}

#define one(function) cmocka_unit_test_setup_teardown(function, usual, NULL)
int main(void)
{
	const struct CMUnitTest tests[] = {
		one(test_what_is_right_is_said_to_be),
		one(test_what_belongs_together_must_be_given_together),
		one(test_a_listener_with_tls_needs_a_certificate),
		one(test_files_are_what_they_must_be),
		one(test_files_are_closed_to_others),
		one(test_a_key_that_needs_a_passphrase_is_refused_and_nobody_is_asked),
		one(test_time_is_told_and_no_error),
		one(test_the_kernel_path_needs_a_listener_without_tls),
		one(test_tls_alone_authenticates_nobody),
		one(test_certificates_of_clients_need_rules),
	};
	int failed;

	directory_make();
	snprintf(cert_path, sizeof(cert_path), "%s", in_directory("cert.pem"));
	snprintf(key_path, sizeof(key_path), "%s", in_directory("key.pem"));
	snprintf(ca_path, sizeof(ca_path), "%s", in_directory("ca.pem"));
	snprintf(rules_path, sizeof(rules_path), "%s", in_directory("rules.json"));
	ca = cert_make(&(struct cert_options){.name = "ca", .is_ca = true});
	cert = cert_make(&(struct cert_options){.name = "proxy", .issuer = ca});
	other = cert_make(&(struct cert_options){.name = "other", .issuer = ca});
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	cert_free(ca);
	cert_free(cert);
	cert_free(other);
	directory_remove();
	return failed;
}
