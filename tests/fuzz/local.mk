# Fuzz targets. make check replays their corpora; to look for more, build one
# with clang -fsanitize=fuzzer,address,undefined and without fuzz-main.c, as
# tests/fuzz/run does.
fuzz_targets = \
	%D%/fuzz-account \
	%D%/fuzz-control-line \
	%D%/fuzz-folder-map \
	%D%/fuzz-job \
	%D%/fuzz-record \
	%D%/fuzz-redact \
	%D%/fuzz-reply-class \
	%D%/fuzz-report \
	%D%/fuzz-trace-header
check_PROGRAMS += $(fuzz_targets)
TESTS += $(fuzz_targets)
%C%_fuzz_account_SOURCES = %D%/fuzz-account.c %D%/fuzz-main.c %D%/fuzz.h
%C%_fuzz_control_line_SOURCES = %D%/fuzz-control-line.c %D%/fuzz-main.c \
	%D%/fuzz.h
%C%_fuzz_control_line_CPPFLAGS = $(cred_notify_cppflags)
%C%_fuzz_control_line_LDADD = plugins/cred-notify/libcore.la $(LIBDOVECOT)
%C%_fuzz_folder_map_SOURCES = %D%/fuzz-folder-map.c %D%/fuzz-main.c %D%/fuzz.h
%C%_fuzz_job_SOURCES = %D%/fuzz-job.c %D%/fuzz-main.c %D%/fuzz.h
%C%_fuzz_job_LDADD = $(pull_libs)
%C%_fuzz_record_SOURCES = %D%/fuzz-record.c %D%/fuzz-main.c %D%/fuzz.h
%C%_fuzz_record_CPPFLAGS = $(cred_notify_cppflags)
%C%_fuzz_record_LDADD = plugins/cred-notify/libcore.la $(LIBDOVECOT)
%C%_fuzz_redact_SOURCES = %D%/fuzz-redact.c %D%/fuzz-main.c %D%/fuzz.h
%C%_fuzz_reply_class_SOURCES = %D%/fuzz-reply-class.c %D%/fuzz-main.c %D%/fuzz.h
%C%_fuzz_report_SOURCES = %D%/fuzz-report.c %D%/fuzz-main.c %D%/fuzz.h
%C%_fuzz_trace_header_SOURCES = %D%/fuzz-trace-header.c %D%/fuzz-main.c \
	%D%/fuzz.h
