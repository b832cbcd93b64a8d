# The formula's modules are the ones of this release, and settings and host are fit for Calico.
{%- import_yaml "calico/release.yaml" as release %}

{#- state.apply does not sync modules. Only where they are missing or of another release are they
    synced while rendering, and loaded anew before the first state; else this costs nothing. #}
{%- if "calico.code" not in salt or salt["calico.code"]() != release.code %}
{%-   do salt["saltutil.sync_utils"](saltenv=saltenv) %}
{%-   do salt["saltutil.sync_modules"](saltenv=saltenv) %}
{%-   do salt["saltutil.sync_states"](saltenv=saltenv) %}
{%-   do salt["saltutil.sync_beacons"](saltenv=saltenv) %}
Calico's modules are the ones of this release:
  test.nop:
    - order: first
    - force_reload_modules: true
{%- endif %}

Settings and host are fit for Calico:
  calico.checked:
    - failhard: true
