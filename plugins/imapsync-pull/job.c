/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "array.h"
#include "connection.h"
#include "str.h"
#include "strescape.h"
#include "job.h"

#define JOB_CONNECTION_SETTINGS \
	.service_name_in = JOB_PROTOCOL_NAME, \
	.service_name_out = JOB_PROTOCOL_NAME, \
	.major_version = JOB_PROTOCOL_MAJOR, \
	.minor_version = JOB_PROTOCOL_MINOR, \
	.input_max_size = JOB_MAX_LINE, \
	.output_max_size = SIZE_MAX

const struct connection_settings job_client_set = {
	JOB_CONNECTION_SETTINGS,
	.client = TRUE,
};

const struct connection_settings job_server_set = {
	JOB_CONNECTION_SETTINGS,
};

static bool job_word_is_valid(const char *word)
{
	return *word != '\0' &&
		word[strspn(word, "abcdefghijklmnopqrstuvwxyz_-")] == '\0';
}

/* Only what str_tabescape() writes. \0010 would unescape to a NUL, which cuts
   the value short behind the back of whoever checked it. */
static bool job_field_is_escaped(const char *field)
{
	for (; *field != '\0'; field++) {
		if (*field == '\r' || *field == '\n')
			return FALSE;
		if (*field != '\001')
			continue;
		field++;
		if (*field == '\0' || strchr("1trn", *field) == NULL)
			return FALSE;
	}
	return TRUE;
}

static bool job_field_split(pool_t pool, const char *arg,
			    struct job_field *field_r)
{
	const char *value = strchr(arg, '=');

	if (value == NULL || value == arg)
		return FALSE;
	field_r->key = p_strdup_until(pool, arg, value);
	field_r->value = value + 1;
	return TRUE;
}

/* Values may be secrets: they are unescaped in place, in the caller's pool,
   and never pass through the data stack. */
int job_line_parse(pool_t pool, const char *line, struct job_line *line_r,
		   const char **error_r)
{
	ARRAY(const char *) args;
	ARRAY(struct job_field) fields;
	struct job_field field;
	char *pos, *next;

	i_zero(line_r);
	if (strlen(line) > JOB_MAX_LINE) {
		*error_r = "line too long";
		return -1;
	}
	p_array_init(&args, pool, 16);
	p_array_init(&fields, pool, 16);
	for (pos = p_strdup(pool, line); pos != NULL; pos = next) {
		const char *arg = pos;

		next = strchr(pos, '\t');
		if (next != NULL)
			*next++ = '\0';
		if (!job_field_is_escaped(pos)) {
			*error_r = "bad escape in line";
			return -1;
		}
		(void)str_tabunescape(pos);
		array_push_back(&args, &arg);
		if (array_count(&args) > 1 &&
		    job_field_split(pool, arg, &field))
			array_push_back(&fields, &field);
	}
	array_append_zero(&args);
	line_r->word = *array_idx(&args, 0);
	line_r->args = array_idx(&args, 1);
	line_r->fields = array_get(&fields, &line_r->field_count);
	if (!job_word_is_valid(line_r->word)) {
		*error_r = "line does not begin with a word";
		return -1;
	}
	return 0;
}

const char *job_line_get(const struct job_line *line, const char *key)
{
	unsigned int i;

	for (i = 0; i < line->field_count; i++) {
		if (strcmp(line->fields[i].key, key) == 0)
			return line->fields[i].value;
	}
	return NULL;
}

const char *const *
job_line_get_all(pool_t pool, const struct job_line *line, const char *key)
{
	ARRAY(const char *) values;
	unsigned int i;

	p_array_init(&values, pool, 8);
	for (i = 0; i < line->field_count; i++) {
		if (strcmp(line->fields[i].key, key) == 0)
			array_push_back(&values, &line->fields[i].value);
	}
	array_append_zero(&values);
	return array_idx(&values, 0);
}

void job_line_begin(string_t *dest, const char *word)
{
	i_assert(job_word_is_valid(word));
	str_append(dest, word);
}

void job_line_add(string_t *dest, const char *key, const char *value)
{
	i_assert(*key != '\0' && strchr(key, '=') == NULL);
	str_append_c(dest, '\t');
	str_append_tabescaped(dest, key);
	str_append_c(dest, '=');
	str_append_tabescaped(dest, value);
}

void job_line_add_arg(string_t *dest, const char *value)
{
	str_append_c(dest, '\t');
	str_append_tabescaped(dest, value);
}

void job_line_end(string_t *dest)
{
	str_append_c(dest, '\n');
}
