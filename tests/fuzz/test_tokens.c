/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files with tokens: which lines are taken, as whom, and that nothing of the file is told, against
 * a second account; the file that a client has, and that a server takes each token that a client
 * can read and that is long enough.
 *
 * Input: the file, for both.
 */
#include "fuzz/file.h"

#include "base/digest.h"
#include "client/token.h"
#include "cmd/access.h"

#define LINES_MAX   2048
#define TOKEN_MIN   16
#define PREFIX      "sha256:"
#define DIGEST_TEXT (2 * XY_DIGEST_SIZE)

struct line {
	char name[XY_IDENTITY_MAX + 1];
	uint8_t digest[XY_DIGEST_SIZE];
};

/* What a file says, as far as the first that is wrong. */
struct account {
	struct line line[LINES_MAX];
	unsigned tokens;
	bool wrong, named;
};

struct hearing {
	struct xy_complaints complaints;
	const char *path, *text;
	size_t length;
	unsigned lines;
};

/* ---- a second account ------------------------------------------------------------------------ */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Up to three words; the number of them. */
static unsigned words_of(struct fuzz_input line, struct fuzz_input word[3])
{
	unsigned words = 0;

	for (size_t at = 0; at < line.size && words < 3; words++) {
		size_t start;

		while (at < line.size && is_blank((char)line.data[at]))
			at++;
		for (start = at; at < line.size && !is_blank((char)line.data[at]);)
			at++;
		if (at == start)
			return words;
		word[words] = (struct fuzz_input){line.data + start, at - start};
	}
	return words;
}

static bool digest_of(struct fuzz_input token, uint8_t digest[XY_DIGEST_SIZE])
{
	char digits[3] = "";

	if (token.size >= strlen(PREFIX) && memcmp(token.data, PREFIX, strlen(PREFIX)) == 0) {
		if (token.size != strlen(PREFIX) + DIGEST_TEXT)
			return false;
		for (size_t i = 0; i < DIGEST_TEXT; i++) {
			char c = (char)token.data[strlen(PREFIX) + i];

			if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
				return false;
			digits[i % 2] = c;
			digest[i / 2] = (uint8_t)strtoul(digits, NULL, 16);
		}
		return true;
	}
	if (token.size < TOKEN_MIN || token.size > XY_TOKEN_MAX)
		return false;
	for (size_t i = 0; i < token.size; i++)
		if (token.data[i] < 0x21 || token.data[i] > 0x7e)
			return false;
	return xy_digest(token.data, token.size, digest) == 0;
}

static bool name_of(struct fuzz_input word, char name[XY_IDENTITY_MAX + 1])
{
	const char *why;

	if (word.size > XY_IDENTITY_MAX)
		return false;
	memcpy(name, word.data, word.size);
	name[word.size] = '\0';
	return xy_identity_check(name, &why) == 0;
}

static bool is_there(const struct account *account, const uint8_t *digest)
{
	for (unsigned t = 0; t < account->tokens; t++)
		if (memcmp(account->line[t].digest, digest, XY_DIGEST_SIZE) == 0)
			return true;
	return false;
}

static bool line_take(struct account *account, struct fuzz_input line)
{
	struct line *taken = &account->line[account->tokens];
	struct fuzz_input word[3];
	unsigned words = words_of(line, word);

	if (words == 0 || word[0].data[0] == '#')
		return true;
	if (words == 3 || !digest_of(word[words - 1], taken->digest))
		return false;
	strcpy(taken->name, XY_IDENTITY_DEFAULT);
	if (words == 2 && !name_of(word[0], taken->name))
		return false;
	if (is_there(account, taken->digest))
		return false;
	account->named = account->named || words == 2;
	account->tokens++;
	return true;
}

static void account_make(struct account *account, struct fuzz_input text)
{
	*account = (struct account){.wrong = memchr(text.data, 0, text.size) != NULL};
	while (text.size > 0 && !account->wrong)
		account->wrong = !line_take(account, fuzz_take_line(&text));
	account->wrong = account->wrong || account->tokens == 0;
}

/* ---- the server's ---------------------------------------------------------------------------- */

/* Of what is long enough to be a token. */
static bool quotes(const struct hearing *hearing, const char *sentence)
{
	size_t length = strlen(sentence);

	for (size_t at = 0; at + TOKEN_MIN <= length; at++)
		if (memchr(sentence + at, ' ', TOKEN_MIN) == NULL &&
		    memmem(hearing->text, hearing->length, sentence + at, TOKEN_MIN) != NULL)
			return true;
	return false;
}

static void hear(struct xy_complaints *complaints, const char *text)
{
	const struct hearing *hearing = (const struct hearing *)complaints;
	size_t length = strlen(hearing->path);
	const char *sentence = text + length + 1;
	unsigned long line;
	char *end;

	fuzz_check(strncmp(text, hearing->path, length) == 0 && text[length] == ':');
	if (*sentence != ' ') {
		line = strtoul(sentence, &end, 10);
		fuzz_check(line >= 1 && line <= hearing->lines);
		fuzz_check(*end == ':');
		sentence = end + 1;
	}
	fuzz_check(*sentence == ' ' && sentence[1] != '\0');
	fuzz_check(!quotes(hearing, sentence));
}

static void check_identity(const struct xy_access *access, const struct line *line)
{
	const struct xy_identity *identity;

	fuzz_check(xy_access_by_token(access, line->digest, &identity) == 0);
	fuzz_check(strcmp(identity->name, line->name) == 0);
	fuzz_check(xy_access_holds(access, identity, XY_REACH_NETWORK));
	xy_identity_free(identity);
}

/* Whether it is taken. */
static bool check_server(const char *path, struct fuzz_input text, const struct account *account)
{
	struct xy_access *access = xy_access_new(XY_ANONYMOUS_NONE);
	struct hearing hearing = {.complaints = {.say = hear},
				  .path = path,
				  .text = (const char *)text.data,
				  .length = text.size,
				  .lines = 1};
	uint8_t unknown[XY_DIGEST_SIZE] = {0};
	const struct xy_identity *identity;
	bool named = false, taken;

	fuzz_check(access != NULL);
	for (size_t at = 0; at < text.size; at++)
		hearing.lines += text.data[at] == '\n';
	xy_access_read_tokens(access, path, &named, &hearing.complaints);
	taken = hearing.complaints.count == 0;
	fuzz_check(taken == !account->wrong);
	if (taken) {
		fuzz_check(named == account->named);
		fuzz_check(xy_access_tokens(access) == account->tokens);
		for (unsigned t = 0; t < account->tokens; t++)
			check_identity(access, &account->line[t]);
	}
	if (!is_there(account, unknown))
		fuzz_check(!taken || xy_access_by_token(access, unknown, &identity) < 0);
	xy_access_free(access);
	return taken;
}

/* ---- the client's ---------------------------------------------------------------------------- */

static void check_client(const char *path, struct fuzz_input text, bool taken)
{
	char token[XY_TOKEN_MAX + 1];
	uint8_t digest[XY_DIGEST_SIZE];
	size_t length = text.size;
	bool expected;

	while (length > 0 && (text.data[length - 1] == '\n' || text.data[length - 1] == '\r'))
		length--;
	expected = text.size <= XY_TOKEN_MAX + strlen("\r\n") && length >= 1 &&
		   length <= XY_TOKEN_MAX && memchr(text.data, 0, length) == NULL &&
		   memchr(text.data, '\n', length) == NULL;
	memset(token, 'x', sizeof(token));
	fuzz_check((xy_token_read(path, token) == 0) == expected);
	if (!expected)
		return;
	fuzz_check(strlen(token) == length && memcmp(token, text.data, length) == 0);
	/* A comment is none to a client, and what begins like a digest is one to a server. */
	if (*token != '#' && strncmp(token, PREFIX, strlen(PREFIX)) != 0 &&
	    digest_of((struct fuzz_input){(const uint8_t *)token, length}, digest))
		fuzz_check(taken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct account account;
	struct fuzz_input text = {data, size};
	const char *path = fuzz_file(data, size);

	account_make(&account, text);
	check_client(path, text, check_server(path, text, &account));
	return 0;
}
