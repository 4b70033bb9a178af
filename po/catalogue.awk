# po files (UTF-8) to the C table of plugins/cred-notify/core/notice-catalogue.h:
#   awk -f catalogue.awk de.po it.po
# A PO string is a C string, so that nothing is unquoted and quoted again.
# Fuzzy, empty and obsolete entries are left out: English is used then.

function add(line) {
	sub(/^[^"]*"/, "\"", line)
	return line
}

function flush_entry() {
	if (id != "" && id != "\"\"" && str != "" && str != "\"\"" && !fuzzy)
		printf "\t{ %s,\n\t  %s },\n", id, str
	id = str = field = ""
	fuzzy = 0
}

function end_language() {
	flush_entry()
	if (language != "")
		print "\t{ NULL, NULL },\n};\n"
}

BEGIN {
	print "/* Made by po/catalogue.awk. */"
	print "#include \"lib.h\""
	print "#include \"core/notice-catalogue.h\"\n"
}

FNR == 1 {
	end_language()
	language = FILENAME
	sub(/.*\//, "", language)
	sub(/\.po$/, "", language)
	languages[++count] = language
	printf "static const struct notice_words words_%s[] = {\n", language
}

/^#, .*fuzzy/	{ flush_entry(); fuzzy = 1; next }
/^#/		{ next }
/^msgid /	{ was = fuzzy; flush_entry(); fuzzy = was
		  field = "id"; id = add($0); next }
/^msgstr /	{ field = "str"; str = add($0); next }
/^"/		{ if (field == "id") id = id "\n\t  " $0
		  else if (field == "str") str = str "\n\t  " $0
		  next }
/^$/		{ flush_entry() }

END {
	end_language()
	print "const struct notice_language notice_languages[] = {"
	for (i = 1; i <= count; i++)
		printf "\t{ \"%s\", words_%s },\n", languages[i], languages[i]
	print "\t{ NULL, NULL },\n};"
}
