# The minion has the formula's modules of this release; nobody else's are touched.
{%- import_yaml "calico/release.yaml" as release %}

{#- state.apply does not sync modules. Only where they are missing or of another release are they
    brought while rendering, and loaded anew before the first state; else this costs nothing.
    By name, and not by saltutil.sync_*: that removes whatever the environment at hand has not, such as
    the modules that others keep in base. -#}
{%- if "calico.code" not in salt or salt["calico.code"]() != release.code %}
{%-   for file in release.files %}
{%-     do salt["cp.get_file"]("salt://_" ~ file, opts.extension_modules ~ "/" ~ file, saltenv=saltenv, makedirs=true) %}
{%-   endfor %}
{%-   do salt["saltutil.refresh_modules"]() %}
{%-   do salt["saltutil.refresh_beacons"]() %}

Calico's modules are the ones of this release:
  test.nop:
    - order: first
    - force_reload_modules: true
{%- endif %}
