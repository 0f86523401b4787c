/* SPDX-License-Identifier: BSD-2-Clause */
/* What it means that a connection has failed: for people, and for programs. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "io/tls_internal.h"

static const char *sentence_of(unsigned long reason)
{
	const char *text;

	switch (ERR_GET_REASON(reason)) {
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
		return "what came is not TLS";
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		return "no version of TLS is spoken by both";
	default:
		text = ERR_reason_error_string(reason);
		return text ? text : "records without end carry no data";
	}
}

void xy_tls_why(const struct xy_tls *tls, char why[XY_TLS_WHY_SIZE])
{
	int error = tls->error ? tls->error : tls->send_error;

	if (error == -ECONNABORTED)
		snprintf(why, XY_TLS_WHY_SIZE, "%s",
			 tls->done ? "the stream was cut" : "hung up during the handshake");
	else if (error == -EFBIG)
		snprintf(why, XY_TLS_WHY_SIZE, "the handshake is too long");
	else if (error != -EPROTO)
		snprintf(why, XY_TLS_WHY_SIZE, "%s", strerror(-error));
	else if (tls->verified != X509_V_OK)
		snprintf(why, XY_TLS_WHY_SIZE, "the certificate is no good: %s",
			 X509_verify_cert_error_string(tls->verified));
	else
		snprintf(why, XY_TLS_WHY_SIZE, "%s", sentence_of(tls->reason));
}

static enum xy_tls_cause verified_cause(long verified)
{
	switch (verified) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		return XY_TLS_CAUSE_UNTRUSTED;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return XY_TLS_CAUSE_NAME;
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return XY_TLS_CAUSE_TIME;
	default:
		return XY_TLS_CAUSE_OTHER;
	}
}

enum xy_tls_cause xy_tls_cause(const struct xy_tls *tls)
{
	if (tls->error != -EPROTO)
		return XY_TLS_CAUSE_OTHER;
	if (tls->verified != X509_V_OK)
		return verified_cause(tls->verified);
	if (ERR_GET_LIB(tls->reason) != ERR_LIB_SSL)
		return XY_TLS_CAUSE_OTHER;
	switch (ERR_GET_REASON(tls->reason)) {
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
		return XY_TLS_CAUSE_NOT_TLS;
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
	case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return XY_TLS_CAUSE_REFUSED;
	default:
		return XY_TLS_CAUSE_OTHER;
	}
}
