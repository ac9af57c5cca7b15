# SPDX-License-Identifier: GPL-2.0-only

# The device with its transport, without process, xenstore or hypervisor: also in the replay tool.
noinst_LIBRARIES += backend/daemon/libdevice.a
backend_daemon_libdevice_a_SOURCES = \
	backend/daemon/control_page.h \
	backend/daemon/device.c backend/daemon/device.h backend/daemon/device_priv.h \
	backend/daemon/control.c \
	backend/daemon/grant_map.c \
	backend/daemon/device_recover.c \
	backend/daemon/statefile.c backend/daemon/statefile.h backend/daemon/statefile_priv.h \
	backend/daemon/statefile_read.c
backend_daemon_libdevice_a_CFLAGS = $(COMPILE_SERVER)

# Supervisor, worker and what they share; the platform comes from each program's main file.
noinst_LIBRARIES += backend/daemon/libdaemon.a
backend_daemon_libdaemon_a_SOURCES = \
	backend/daemon/msg.c backend/daemon/msg.h \
	backend/daemon/options.c backend/daemon/options.h \
	backend/daemon/budget.h \
	backend/daemon/spawn.c backend/daemon/spawn.h \
	backend/daemon/grant_broker.c backend/daemon/grant_broker.h \
	backend/daemon/link.c backend/daemon/link.h \
	backend/daemon/sdevice.c backend/daemon/sdevice.h backend/daemon/sdevice_priv.h \
	backend/daemon/sdevice_endpoints.c \
	backend/daemon/sdevice_recover.c \
	backend/daemon/sdevice_store.c \
	backend/daemon/admin.c backend/daemon/admin.h \
	backend/daemon/statestore.c backend/daemon/statestore.h \
	backend/daemon/supervisor.c backend/daemon/supervisor.h \
	backend/daemon/worker.c backend/daemon/worker.h backend/daemon/worker_priv.h \
	backend/daemon/worker_commands.c \
	backend/daemon/worker_endpoints.c \
	backend/daemon/worker_report.c \
	backend/daemon/worker_sandbox.c \
	backend/daemon/sandbox.c backend/daemon/sandbox.h backend/daemon/sandbox_priv.h \
	backend/daemon/sandbox_view.c \
	backend/daemon/sandbox_filter.c \
	backend/daemon/worker_state.c
backend_daemon_libdaemon_a_CFLAGS = $(COMPILE_SERVER) $(SECCOMP_CFLAGS)
backend_daemon_libdaemon_a_CPPFLAGS = $(AM_CPPFLAGS) $(CONTROL_PATH_DEF)
CONTROL_PATH_DEF = -DVIOMMU_CONTROL_PATH='"$(runstatedir)/xen-viommu/control.sock"'

DAEMON_LIBS = backend/daemon/libdaemon.a backend/daemon/libdevice.a \
	backend/iommu/libiommu.a backend/viommu/libviommu.a backend/virtio/libvirtio.a \
	xenstore/libviommu_xenstore.a

if HAVE_XEN
sbin_PROGRAMS += xen-viommud viommuctl
xen_viommud_SOURCES = backend/daemon/main.c
xen_viommud_LDFLAGS = $(LINK_SERVER)
xen_viommud_LDADD = $(DAEMON_LIBS) backend/platform/libplatform_xen.a backend/platform/libbroker.a common/libcommon.a \
	$(XEN_LIBS) $(JANSSON_LIBS) $(SECCOMP_LIBS)

viommuctl_SOURCES = \
	backend/daemon/viommuctl.c \
	backend/daemon/ctl_client.h \
	backend/daemon/ctl_commands.c \
	backend/daemon/ctl_companion.c \
	backend/daemon/ctl_print.c
viommuctl_CPPFLAGS = $(AM_CPPFLAGS) $(CONTROL_PATH_DEF)
viommuctl_LDADD = backend/daemon/libdaemon.a common/libcommon.a $(JANSSON_LIBS)

# The same objects on the fake hypervisor, for tests and the demo; never installed.
noinst_PROGRAMS += tests/support/xen-viommud-fakexen
tests_support_xen_viommud_fakexen_SOURCES = tests/support/viommud_fakexen.c
tests_support_xen_viommud_fakexen_LDFLAGS = $(LINK_SERVER)
tests_support_xen_viommud_fakexen_LDADD = $(DAEMON_LIBS) \
	backend/platform/libplatform_fakexen.a backend/platform/libbroker.a \
	common/libcommon.a $(XEN_LIBS) $(JANSSON_LIBS) \
	$(SECCOMP_LIBS)
endif
