/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib.h"
#include "str.h"
#include "hex-binary.h"
#include "imap-utf7.h"
#include "sha2.h"
#include "unichar.h"
#include "core/account.h"
#include "core/folder-map.h"

#include <check.h>
#include <stdlib.h>

#define MAX_FOLDERS 16

static pool_t pool;
static struct folder_mapped mapped[MAX_FOLDERS];

static void setup(void)
{
	pool = pool_allocfree_create("test folder map");
}

static void teardown(void)
{
	pool_unref(&pool);
}

static void account_init(const char *settings, struct account *account_r)
{
	const char *error = "";

	ck_assert_msg(account_parse(pool, "anna", "work",
		t_strsplit(t_strconcat("host=h\nlogin=l", *settings == '\0' ?
				       "" : "\n", settings, NULL), "\n"),
		account_r, &error) == 0, "%s", error);
}

/* Folders as a line each: the separator, the name, and after a tab what LIST
   says of it: noselect nonexistent subscribed utf8 or \Special */
static unsigned int
listed_init(const char *lines, struct folder_listed *listed)
{
	const char *const *line = t_strsplit(lines, "\n");
	const char *const *words;
	unsigned int count = 0;

	for (; *line != NULL; line++, count++) {
		ck_assert_uint_lt(count, MAX_FOLDERS);
		i_zero(&listed[count]);
		words = t_strsplit(*line, "\t");
		listed[count].separator = **words == '0' ? '\0' : **words;
		listed[count].remote_name = *words + 1;
		for (words++; *words != NULL; words++) {
			if (strcmp(*words, "noselect") == 0)
				listed[count].noselect = TRUE;
			else if (strcmp(*words, "nonexistent") == 0)
				listed[count].nonexistent = TRUE;
			else if (strcmp(*words, "subscribed") == 0)
				listed[count].subscribed = TRUE;
			else if (strcmp(*words, "utf8") == 0)
				listed[count].utf8 = TRUE;
			else {
				listed[count].special_use |=
					folder_special_use_parse(*words);
				ck_assert(listed[count].special_use != 0);
			}
		}
	}
	return count;
}

/* "name" of each line, with "*" before it if it is selected; "-" if it has
   none */
static const char *
map_with(const char *settings, const struct folder_local *local,
	 const char *lines)
{
	static struct folder_listed listed[MAX_FOLDERS];
	struct account account;
	string_t *str = t_str_new(256);
	const char *error = "";
	unsigned int i, count;

	account_init(settings, &account);
	count = listed_init(lines, listed);
	ck_assert_msg(folder_map_make(pool, &account, local, listed, count,
				      mapped, &error) == 0, "%s", error);
	for (i = 0; i < count; i++) {
		const struct folder_mapped *folder = &mapped[i];

		ck_assert_ptr_eq(folder->listed, &listed[i]);
		ck_assert(!folder->selected || folder->local_name != NULL);
		ck_assert_int_eq(folder->selected, folder->reason == NULL);
		if (i > 0)
			str_append_c(str, '\n');
		if (folder->selected)
			str_append_c(str, '*');
		str_append(str, folder->local_name == NULL ? "-" :
			   folder->local_name);
	}
	return str_c(str);
}

static const struct folder_local slash = { .separator = '/', .prefix = "" };
static const struct folder_local dot = { .separator = '.', .prefix = "" };
static const struct folder_local inbox_dot = {
	.separator = '.', .prefix = "INBOX.",
};
static const struct folder_local own = {
	.separator = '/', .prefix = "", .sent = "Gesendet",
	.trash = "Other/Bin",
};

static const char *suffix(const char *remote_name)
{
	unsigned char digest[SHA256_RESULTLEN];

	sha256_get_digest(remote_name, strlen(remote_name), digest);
	return t_strconcat("-", binary_to_hex(digest, 4), NULL);
}

/* {name} in a result stands for the suffix of that remote name */
static const char *with_suffixes(const char *result)
{
	string_t *str = t_str_new(256);
	const char *end;

	for (; *result != '\0'; result++) {
		end = *result == '{' ? strchr(result, '}') : NULL;
		if (end == NULL) {
			str_append_c(str, *result);
			continue;
		}
		str_append(str, suffix(t_strdup_until(result + 1, end)));
		result = end;
	}
	return str_c(str);
}

static const struct {
	const char *settings;
	const struct folder_local *local;
	const char *lines, *result;
} maps[] = {
	/* which folders: presets */
	{ "", &slash, "/INBOX\n/Sent\n/Lists\n/Lists/x",
	  "*INBOX\n*Sent\nLists\nLists/x" },
	{ "preset=backup", &slash, "/INBOX\n/Sent\n/Lists\n/Lists/x",
	  "*INBOX\n*Sent\n*Lists\n*Lists/x" },
	{ "preset=combine\nsubfolder=Work", &slash, "/INBOX\n/Sent\n/Lists",
	  "*Work/INBOX\n*Work/Sent\nWork/Lists" },
	{ "preset=migrate", &slash, "/INBOX\n/Gesendet\n/A",
	  "*INBOX\n*Sent\n*A" },
	{ "preset=backup", &slash, "/INBOX\n/Gesendet\t\\Sent\n/A",
	  "*INBOX\n*Gesendet\n*A" },

	/* the one Sent: attribute before name, best name, place */
	{ "", &slash, "/INBOX\n/Sent\n/Out\t\\Sent",
	  "*INBOX\nSent{Sent}\n*Sent" },
	{ "", &slash, "/INBOX\n/Sent Items\n/Sent Messages\n/sent",
	  "*INBOX\nSent Items\nSent Messages\n*Sent" },
	{ "", &slash, "/Gesendet\n/Sent Items", "Gesendet\n*Sent" },
	{ "", &slash, "/INBOX\n/[Gmail]\tnoselect\n/[Gmail]/Sent Mail",
	  "*INBOX\n[Gmail]\n*Sent" },
	{ "", &slash, "/INBOX\n/Posta inviata", "*INBOX\n*Sent" },
	{ "", &slash, "/INBOX\n/&BB4EQgQ,BEAEMAQyBDsENQQ9BD0ESwQ1-",
	  "*INBOX\n*Sent" },
	{ "", &slash, "/INBOX\n/Old/Sent\n/INBOX/Sent",
	  "*INBOX\nOld/Sent\n*Sent" },
	{ "", &own, "/INBOX\n/Sent\n/Trash\n/Drafts",
	  "*INBOX\n*Gesendet\nOther/Bin\nDrafts" },
	{ "preset=combine\nsubfolder=W", &own, "/INBOX\n/Sent\n/Bin",
	  "*W/INBOX\n*W/Sent\nW/Trash" },
	{ "", &slash, "/INBOX\n/A\t\\Sent\n/B\t\\Sent",
	  "*INBOX\n*Sent\nB" },
	{ "", &slash, "/INBOX\n/A\t\\Sent\tnoselect\n/Sent",
	  "*INBOX\nA\n*Sent" },
	{ "", &slash, "/INBOX\t\\Sent\n/Sent", "*INBOX\n*Sent" },
	{ "", &slash, "/INBOX\n/Other", "*INBOX\nOther" },

	/* INBOX */
	{ "", &slash, "/inbox\n/x", "*INBOX\nx" },
	{ "", &slash, "/InBoX", "*INBOX" },
	{ "", &slash, "/INBOX\n/inbox", "*INBOX\n-" },
	{ "folders=inbox", &slash, "/INBOX\n/inbox/x\n/y",
	  "*INBOX\nINBOX/x\ny" },
	{ "folders=inbox/*", &slash, "/INBOX\n/INBOX/x\n/y",
	  "INBOX\n*INBOX/x\ny" },
	{ "folders=INBOX", &inbox_dot, "/INBOX\n/INBOX/x\n/Sent\n/y/z",
	  "*INBOX\nINBOX.x\nINBOX.Sent\nINBOX.y.z" },
	{ "folders=*", &slash, "/inbox2\n/INBOXes/a",
	  "*inbox2\n*INBOXes/a" },

	/* everything below INBOX */
	{ "folders=*", &slash, ".INBOX\n.INBOX.Sent\n.INBOX.Lists.x",
	  "*INBOX\n*Sent\n*Lists/x" },
	{ "folders=*", &inbox_dot, ".INBOX\n.INBOX.Sent\n.INBOX.Lists.x",
	  "*INBOX\n*INBOX.Sent\n*INBOX.Lists.x" },
	{ "folders=*", &slash, ".INBOX\n.INBOX.Sent\n.INBOX.a\n.b",
	  "*INBOX\n*Sent\n*INBOX/a\n*b" },
	{ "folders=*", &slash, ".INBOX\n.INBOX.INBOX\n.INBOX.inbox",
	  "*INBOX\n*INBOX{INBOX.INBOX}\n*inbox{INBOX.inbox}" },
	{ "folders=*", &slash, ".INBOX.INBOX",
	  "*INBOX{INBOX.INBOX}" },
	{ "preset=combine\nsubfolder=W\nfolders=*", &slash,
	  ".INBOX\n.INBOX.INBOX\n.INBOX.x",
	  "*W/INBOX\n*W/INBOX{INBOX.INBOX}\n*W/x" },

	/* hostile names (H35 to H40) */
	{ "folders=*", &slash, "/../../other/INBOX\n/a/../b\n/a/./b\n/..\n/.",
	  "-\n-\n-\n-\n-" },
	{ "folders=*", &slash, "//etc/passwd\n/~root\n/~/x\n/\n/a//b\n/a/",
	  "-\n-\n-\n-\n-\n-" },
	{ "folders=*", &slash, "./etc/passwd\n.a/../b\n.a/b",
	  "-\n-\n*a_b" },
	{ "folders=*", &slash, "|a/../b\n|../x\n|a/b", "*a_.._b\n*.._x\n*a_b" },
	{ "folders=*", &dot, "/a/..b\n/a.b\n/..\n/...\n/.x",
	  "*a.__b\n*a_b\n-\n*___\n*_x" },
	{ "folders=*", &slash, "/a\rb\n/a\033[2J\n/a\177\n/a\xff\n/\xc3\xa4",
	  "-\n-\n-\n-\n-" },
	{ "folders=*", &slash, "/&AAo-\n/&AAk-x\n/&AH8-\n/&AIU-",
	  "-\n-\n-\n-" },
	{ "folders=*", &slash, "/&AGE\n/&2ADe\n/&2ADYAA-\n/&AOQ-&AOQ-\n"
	  "/&AGE-\n/&\n/&AOQ\n/&AOR-\n/&AOR-x",
	  "-\n-\n-\n-\n-\n-\n-\n-\n-" },
	{ "folders=*", &slash, "/&AOQ-\n/&-\n/a&-b\n/&AOQ-\xff",
	  "*\xc3\xa4\n*&\n*a&b\n-" },
	{ "folders=*", &slash, "/&-\x01" "b\n/&-\x80", "-\n-" },
	{ "folders=*", &slash, "/\xc3\xa4\tutf8\n/a&b\tutf8\n/\xc3\tutf8\n"
	  "/a\rx\tutf8\n/\xc2\x85\tutf8",
	  "*\xc3\xa4\n*a&b\n-\n-\n-" },
	/* bidi and what cannot be seen; ZWJ is spelling */
	{ "folders=*", &slash, "/a\xe2\x80\xae" "b\tutf8\n"
	  "/\xef\xbb\xbf\tutf8\n/a\xe2\x80\x8d" "b\tutf8",
	  "*a_b\n*_\n*a\xe2\x80\x8d" "b" },
	{ "folders=*", &slash, "/a/b\n/a/b\n/c", "*a/b\n-\n*c" },
	/* separators */
	{ "folders=*", &slash, "0a/b.c\n|x|y\n\\u\\v\n^m^n",
	  "*a_b.c\n*x/y\n*u/v\n*m/n" },
	{ "folders=*", &slash, "xaxb\n\177a\n\"a\"b\n*a\n%a\n&a\n\xc3" "a",
	  "-\n-\n-\n-\n-\n-\n-" },

	/* two that would become one */
	{ "folders=*", &dot, "/a.b\n/a_b", "*a_b{a.b}\n*a_b" },
	{ "folders=*", &dot, "/a_b\n/a.b", "*a_b\n*a_b{a.b}" },
	{ "folders=*", &dot, "/a.b\n/a/b\n/a.b.c\n/a_b.c",
	  "*a_b\n*a.b\n*a_b_c{a.b.c}\n*a_b_c{a_b.c}" },
	{ "folders=*", &slash, "/Work\n/work", "*Work\n*work" },
	/* NFC and NFD of the same */
	{ "folders=*", &slash, "/\xc3\xa4\tutf8\n/a\xcc\x88\tutf8",
	  "*\xc3\xa4{\xc3\xa4}\n*a\xcc\x88{a\xcc\x88}" },
	/* a container without mail takes nobody's name */
	{ "folders=*", &dot, "/a_b\tnoselect\n/a.b", "a_b\n*a_b" },

	/* folder_map, subfolder */
	{ "folders=*\nfolder_map=Lists/x=Old/Lists,Sent=Out", &slash,
	  "/INBOX\n/Lists/x\n/Sent", "*INBOX\n*Old/Lists\n*Out" },
	{ "folders=*\nfolder_map=Lists/x=Old/Lists", &dot,
	  "/INBOX\n/Lists/x", "*INBOX\n*Old.Lists" },
	{ "folders=*\nfolder_map=\\\\Sent=Out,inbox=In", &slash,
	  "/INBOX\n/Gesendet\n/Sent Items", "*In\n*Gesendet\n*Out" },
	{ "folders=*\nfolder_map=p\xc3\xa4=x=y,a=p\xc3\xa4", &slash,
	  "/p&AOQ-=x\n/a", "*y\n*p\xc3\xa4" },
	{ "folders=*\nfolder_map=a=x,b=x", &slash, "/a\n/b\n/x",
	  "*x{a}\n*x{b}\n*x{x}" },
	{ "folders=*\nfolder_map=a=x", &slash, "/a\n/x", "*x\n*x{x}" },
	{ "folders=*\nfolder_map=a=x\nsubfolder=Old/Work", &dot, "/a\n/b.c",
	  "*Old.Work.x\n*Old.Work.b_c" },
	{ "folders=*\nsubfolder=INBOX.W", &inbox_dot, "/INBOX\n/b",
	  "*INBOX.W.INBOX\n*INBOX.W.b" },
	{ "folders=*\nsubfolder=W", &inbox_dot, "/INBOX\n/b",
	  "*INBOX.W.INBOX\n*INBOX.W.b" },
	{ "folders=*\nfolder_map=INBOX.a=b", &slash, ".INBOX\n.INBOX.a\n"
	  ".INBOX.c", "*INBOX\n*b\n*c" },

	/* masks */
	{ "folders=a*", &slash, "/a\n/ab\n/a/b\n/b/a", "*a\n*ab\n*a/b\nb/a" },
	{ "folders=a%", &slash, "/a\n/ab\n/a/b\n/b", "*a\n*ab\na/b\nb" },
	{ "folders=%/b", &slash, "/a/b\n/b\n/a/c/b", "*a/b\nb\na/c/b" },
	{ "folders=%.b", &slash, ".a.b\n.x\n.a.c.b", "*a/b\nx\na/c/b" },
	{ "folders=%", &slash, "0a/b\n/a/c", "*a_b\na/c" },
	{ "folders=*b*d*", &slash, "/abcd\n/dcb\n/bd\n/axbxxdx",
	  "*abcd\ndcb\n*bd\n*axbxxdx" },
	{ "folders=A", &slash, "/a\n/A", "a\n*A" },
	{ "folders=p\xc3\xa4*", &slash, "/p&AOQ-x\n/pa", "*p\xc3\xa4x\npa" },
	{ "folders=*\nexclude=Lists,Lists/*", &slash,
	  "/Lists\n/Lists/x\n/Listsx", "Lists\nLists/x\n*Listsx" },
	{ "folders=/a{2\\,3}/", &slash, "/aa\n/aaaa\n/xaa", "*aa\naaaa\nxaa" },
	{ "folders=/(Lists|Old)\\/.*/", &slash, "/Lists/a\n/Lists\n/Old/b",
	  "*Lists/a\nLists\n*Old/b" },
	{ "folders=/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/", &slash,
	  "/0a1b2c3d-1111-2222-3333-0123456789ab\n/0a1b2c3d-1111",
	  "*0a1b2c3d-1111-2222-3333-0123456789ab\n0a1b2c3d-1111" },
	{ "folders=/(([a-z]+ )+[a-z]+/)+\\(x\\)+\\{y/", &slash,
	  "/ab cd/e f/(x)){y\n/ab cd/(x){y\n/x",
	  "*ab cd/e f/(x)){y\n*ab cd/(x){y\nx" },
	{ "folders=/a|b/", &slash, "/a\n/b\n/ax\n/xb", "*a\n*b\nax\nxb" },
	{ "folders=*\nexclude=/.*[0-9]/", &slash, "/a1\n/a", "a1\n*a" },
	{ "folders=\\Trash,\\Junk", &slash, "/Bin\n/Spam\n/Junk\n/x",
	  "*Trash\nSpam\n*Junk\nx" },
	{ "folders=*\nexclude=\\Junk", &slash, "/Spam\n/Junk\n/x",
	  "Spam\nJunk\n*x" },
	{ "folders=*\nexclude=INBOX", &slash, "/INBOX\n/x", "INBOX\n*x" },
	{ "folders=*\nsubscribed_only=yes", &slash,
	  "/INBOX\n/a\tsubscribed\n/b", "*INBOX\n*a\nb" },
	{ "folders=*", &slash, "/a\tnoselect\n/b\tnonexistent\n/c",
	  "a\nb\n*c" },

	/* what shows the mail of others */
	{ "folders=*", &slash, "/INBOX\n/All\t\\All\n/Starred\t\\Flagged\n"
	  "/Imp\t\\Important", "*INBOX\nAll\nStarred\nImp" },
	{ "folders=*,All", &slash, "/INBOX\n/All\t\\All", "*INBOX\n*All" },
	{ "folders=*,\\All", &slash, "/INBOX\n/X\t\\All", "*INBOX\n*X" },
	{ "folders=A*,/All/", &slash, "/INBOX\n/All\t\\All", "INBOX\nAll" },
};

START_TEST(folder_map)
{
	ck_assert_str_eq(map_with(maps[_i].settings, maps[_i].local,
				  maps[_i].lines),
			 with_suffixes(maps[_i].result));
}
END_TEST

START_TEST(folder_map_special_use)
{
	(void)map_with("folders=*", &slash, "/INBOX\n/Sent\n/Sent Items\n/x\n"
		       "/Out\t\\Trash\n/Trash\n/Spam");
	ck_assert(mapped[0].inbox);
	ck_assert_int_eq(mapped[0].special_use, FOLDER_SPECIAL_NONE);
	ck_assert(!mapped[1].inbox);
	ck_assert_int_eq(mapped[1].special_use, FOLDER_SPECIAL_SENT);
	/* both are filed mail, whichever is pulled as Sent */
	ck_assert_int_eq(mapped[2].special_use, FOLDER_SPECIAL_SENT);
	ck_assert_int_eq(mapped[3].special_use, FOLDER_SPECIAL_NONE);
	ck_assert_int_eq(mapped[4].special_use, FOLDER_SPECIAL_TRASH);
	ck_assert_int_eq(mapped[5].special_use, FOLDER_SPECIAL_NONE);
	ck_assert_int_eq(mapped[6].special_use, FOLDER_SPECIAL_JUNK);
}
END_TEST

static const struct {
	const char *settings, *lines, *reason;
} reasons[] = {
	{ "", "/x", "not chosen" },
	{ "exclude=x\nfolders=*", "/x", "excluded" },
	{ "folders=*\nsubscribed_only=yes", "/x", "not subscribed" },
	{ "folders=*", "/x\tnoselect", "holds no mail" },
	{ "folders=*", "/x\t\\All", "shows the mail of other folders" },
	{ "folders=*", "/", "empty" },
	{ "folders=*", "/a/../b", "\"..\"" },
	{ "folders=*", "/~x", "'~'" },
	{ "folders=*", "/&AGE", "UTF-7" },
	{ "folders=*", "/\xff\tutf8", "UTF-8" },
	{ "folders=*", "ax", "separator" },
};

START_TEST(folder_map_reason)
{
	(void)map_with(reasons[_i].settings, &slash, reasons[_i].lines);
	ck_assert_ptr_nonnull(mapped[0].reason);
	ck_assert_msg(strstr(mapped[0].reason, reasons[_i].reason) != NULL,
		      "%s", mapped[0].reason);
}
END_TEST

/* 255 bytes are a name, 256 are none: also with a prefix or suffix on it */
START_TEST(folder_map_length)
{
	string_t *name = t_str_new(300);
	const char *result;

	str_append_c(name, '/');
	while (str_len(name) < 256)
		str_append_c(name, 'n');
	result = map_with("folders=*", &slash, str_c(name));
	ck_assert_str_eq(result, t_strconcat("*", str_c(name) + 1, NULL));
	ck_assert_str_eq(map_with("folders=*", &inbox_dot, str_c(name)), "-");
	ck_assert_str_eq(mapped[0].reason, "name is too long");
	ck_assert_str_eq(map_with("folders=*\nsubfolder=x", &slash,
				  str_c(name)), "-");
	str_append_c(name, 'n');
	ck_assert_str_eq(map_with("folders=*", &slash, str_c(name)), "-");
	while (str_len(name) < 5000)
		str_append_c(name, 'n');
	ck_assert_str_eq(map_with("folders=*", &slash, str_c(name)), "-");
}
END_TEST

/* Somebody lists what looks like another one's suffixed name. */
START_TEST(folder_map_chosen_suffix)
{
	const char *fake = t_strconcat("a_b", suffix("a.b"), NULL);

	ck_assert_str_eq(map_with("folders=*", &dot, t_strconcat(
				  "/a.b\n/a_b\n/", fake, NULL)),
			 t_strconcat("-\n*a_b\n*", fake, NULL));
	ck_assert_str_eq(mapped[0].reason,
			 "local name is taken by another folder");
}
END_TEST

static const struct {
	const char *settings, *error;
} bad[] = {
	{ "folders=/a", "regular expression" },
	{ "folders=//", "regular expression" },
	{ "folders=/(/", "mask /(/" },
	{ "folders=/[z-a]/", "mask /[z-a]/" },
	{ "exclude=/a", "regular expression" },
	{ "folders=/(a)\\2/", "mask /(a)\\2/: it must have no back-references" },
	{ "folders=/[a\\\\](a)\\2/", "no back-references" },
	{ "exclude=/a{101}/", "mask /a{101}/: it repeats too much" },
	{ "folders=/a{\\,101}/", "it repeats too much" },
	{ "folders=/a{2\\,}b{99}/", "it repeats too much" },
	{ "folders=/a{99999999999999999999}/", "it repeats too much" },
	{ "folders=/(ab){17}/", "it repeats too much" },
	{ "folders=/((a{3}){3}b){6}/", "it repeats too much" },
	{ "folders=/a{2}{2}{2}{2}{2}{2}/", "it repeats too much" },
	{ "folders=/a++++++/", "it repeats too much" },
	{ "folders=/(((((a+)+)+)+)+)+/", "it repeats too much" },
	{ "folders=/(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)(a)"
	  "(a)(a)/", "it has too many groups" },
	{ "folders=\\Nonsense", "unknown special use" },
	{ "exclude=x,\\Sents", "unknown special use" },
	{ "subfolder=../x", "subfolder ../x" },
	{ "subfolder=/x", "subfolder" },
	{ "subfolder=x/", "subfolder" },
	{ "subfolder=x..y", "subfolder" },
	{ "subfolder=~x", "subfolder" },
	{ "folder_map=a=x/../y", "folder_map a=x/../y" },
	{ "folder_map=a=/x", "bad local name" },
	{ "folder_map=\\Foo=x", "unknown special use" },
};

/* Said without a single folder, too. */
START_TEST(folder_map_bad)
{
	struct folder_listed listed[1];
	struct account account;
	const char *error = "";
	unsigned int count;

	account_init(bad[_i].settings, &account);
	(void)listed_init("/x", listed);
	for (count = 0; count < 2; count++) {
		ck_assert_int_eq(folder_map_make(pool, &account, &dot, listed,
						 count, mapped, &error), -1);
		ck_assert_msg(strstr(error, bad[_i].error) != NULL, "%s",
			      error);
	}
}
END_TEST

START_TEST(folder_special_uses)
{
	static const char *const names[] = {
		"\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Junk",
		"\\Sent", "\\Trash", "\\Important",
	};
	unsigned int i;

	for (i = 0; i < N_ELEMENTS(names); i++) {
		enum folder_special_use use =
			folder_special_use_parse(t_str_ucase(names[i]));

		ck_assert_str_eq(folder_special_use_name(use), names[i]);
		ck_assert_int_eq(folder_special_use_is_filed(use),
				 strchr("DJST", names[i][1]) != NULL);
	}
	ck_assert_int_eq(folder_special_use_parse("Sent"),
			 FOLDER_SPECIAL_NONE);
	ck_assert_int_eq(folder_special_use_parse("\\Marked"),
			 FOLDER_SPECIAL_NONE);
	ck_assert_str_eq(folder_special_use_name(FOLDER_SPECIAL_NONE), "");
	ck_assert(!folder_special_use_is_filed(FOLDER_SPECIAL_NONE));
}
END_TEST

/* A mask that takes other matchers an age */
START_TEST(folder_map_slow_mask)
{
	string_t *mask = t_str_new(512), *name = t_str_new(300);
	unsigned int i;

	str_append(mask, "folders=");
	str_append_c(name, '/');
	for (i = 0; i < 100; i++) {
		str_append(mask, "*a%a");
		str_append(name, "aa");
	}
	ck_assert_str_eq(map_with(str_c(mask), &slash, str_c(name)),
			 t_strconcat("*", str_c(name) + 1, NULL));
	str_append_c(name, 'b');
	ck_assert_str_eq(map_with(str_c(mask), &slash, str_c(name)),
			 str_c(name) + 1);
}
END_TEST

static const char *random_name(void)
{
	static const char *const bits[] = {
		"a", "b", "/", ".", "_", "..", "~", "INBOX", "inbox", "Sent",
		"&AOQ-", "&-", "&", "-", "\xc3\xa4", "a\xcc\x88", "\r", " ",
		"\xe2\x80\xae", "[Gmail]", "*", "%", "\"", "\\",
	};
	string_t *str = t_str_new(32);
	unsigned int i, count = random() % 6;

	for (i = 0; i < count; i++)
		str_append(str, bits[random() % N_ELEMENTS(bits)]);
	return str_c(str);
}

static void check_local_name(const char *name, char separator)
{
	const char separators[] = { separator, '\0' };
	const char *const *level = t_strsplit(name, separators);
	const char *p;

	ck_assert(uni_utf8_str_is_valid(name));
	ck_assert_uint_le(strlen(name), 255);
	for (p = name; *p != '\0'; p++) {
		ck_assert(*p < 0 || *p >= 0x20);
		ck_assert(*p != '/' || separator == '/');
	}
	for (; *level != NULL; level++) {
		ck_assert_str_ne(*level, "");
		ck_assert_str_ne(*level, ".");
		ck_assert_str_ne(*level, "..");
	}
	ck_assert_int_ne(name[0], '~');
	ck_assert_int_ne(name[0], '/');
}

/* Whatever the server lists: local names are safe, and no two are equal. */
START_TEST(folder_map_random)
{
	unsigned int seed = (getenv("TEST_SEED") != NULL ?
			     atoi(getenv("TEST_SEED")) : 1) + _i;
	const struct folder_local *local = _i % 2 == 0 ? &slash : &dot;
	struct folder_listed listed[MAX_FOLDERS];
	struct account account;
	const char *error = "";
	unsigned int i, j;

	srandom(seed);
	account_init("folders=*", &account);
	i_zero(&listed);
	for (i = 0; i < MAX_FOLDERS; i++) {
		listed[i].remote_name = p_strdup(pool, random_name());
		listed[i].separator = "/.\0"[random() % 3];
		listed[i].utf8 = random() % 2 == 0;
		listed[i].noselect = random() % 8 == 0;
		if (random() % 8 == 0)
			listed[i].special_use = 1 << (random() % 8);
	}
	ck_assert_int_eq(folder_map_make(pool, &account, local, listed,
					 MAX_FOLDERS, mapped, &error), 0);
	for (i = 0; i < MAX_FOLDERS; i++) {
		if (mapped[i].local_name == NULL)
			continue;
		check_local_name(mapped[i].local_name, local->separator);
		ck_assert(mapped[i].inbox || listed[i].noselect ||
			  strcasecmp(mapped[i].local_name, "INBOX") != 0);
		for (j = 0; j < i; j++) {
			ck_assert_msg(!mapped[i].selected ||
				      !mapped[j].selected ||
				      strcmp(mapped[i].local_name,
					     mapped[j].local_name) != 0,
				      "seed %u: %s", seed,
				      mapped[i].local_name);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("folder-map");
	TCase *tc = tcase_create("folder-map");
	SRunner *runner = srunner_create(suite);
	int failed;

	lib_init();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, folder_map, 0, N_ELEMENTS(maps));
	tcase_add_test(tc, folder_map_special_use);
	tcase_add_loop_test(tc, folder_map_reason, 0, N_ELEMENTS(reasons));
	tcase_add_test(tc, folder_map_length);
	tcase_add_test(tc, folder_map_chosen_suffix);
	tcase_add_loop_test(tc, folder_map_bad, 0, N_ELEMENTS(bad));
	tcase_add_test(tc, folder_special_uses);
	tcase_add_test(tc, folder_map_slow_mask);
	tcase_add_loop_test(tc, folder_map_random, 0, 500);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	lib_deinit();
	return failed == 0 ? 0 : 1;
}
