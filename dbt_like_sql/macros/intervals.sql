{#
  Bounds for a mean of values in [0, 1].

  Wilson's score interval (1927) for values that are 0 or 1. For values in between the same formula at
  the effective number of values, n · m(1 − m) / s²: as many zeros and ones would say as much about
  their mean m as n values of variance s² do. Known from survey statistics as the design-adjusted
  Wilson interval: Franco, Little, Louis, Slud, 2019, https://doi.org/10.1093/jssam/smy019. A value in
  [0, 1] has at most the variance m(1 − m), so the effective number is never below n, and n itself is
  the careful choice while s² is not known well.
#}

{% macro effective_values(n, mean, variance) -%}
case
    when {{ n }} < {{ var('interval_values') }} or {{ mean }} <= 0 or {{ mean }} >= 1 then {{ n }}
    else {{ n }} / least(greatest({{ variance }} / ({{ mean }} * (1 - {{ mean }})), 1.0 / {{ n }}), 1.0)
end
{%- endmacro %}

{% macro wilson_low(mean, n) -%}
greatest(({{ mean }} + {{ z2() }} / (2 * {{ n }}) - {{ wilson_half(mean, n) }}) / (1 + {{ z2() }} / {{ n }}), 0.0)
{%- endmacro %}

{% macro wilson_high(mean, n) -%}
least(({{ mean }} + {{ z2() }} / (2 * {{ n }}) + {{ wilson_half(mean, n) }}) / (1 + {{ z2() }} / {{ n }}), 1.0)
{%- endmacro %}

{% macro wilson_half(mean, n) -%}
sqrt(greatest({{ z2() }} * ({{ mean }} * (1 - {{ mean }}) / {{ n }} + {{ z2() }} / (4 * {{ n }} * {{ n }})), 0.0))
{%- endmacro %}

{% macro z2() -%}
({{ var('interval_z') }}::double * {{ var('interval_z') }}::double)
{%- endmacro %}
